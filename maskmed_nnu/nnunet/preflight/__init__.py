"""What is looked at before nnU-Net's commands begin, so that hours of work do not end with a wrong file name."""
