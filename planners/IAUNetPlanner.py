"""IAUNet: every object of a 2D image, or of each slice of a volume. For data sets that `maskmed convert` makes.

    nnUNetv2_plan_and_preprocess -d 10 -pl IAUNetPlanner -c 2d --verify_dataset_integrity
    nnUNetv2_train 10 2d 0 -p IAUNetPlans -tr nnUNetTrainerIAUNet
    nnUNetv2_predict -d 10 -c 2d -f 0 -p IAUNetPlans -tr nnUNetTrainerIAUNet -i IMAGES -o PREDICTIONS

Everything that the planner chooses is in ``IAUNetPlans.json``, under ``architecture`` and ``instances``.
"""

from maskmed_nnu.nnunet.experiment_planning.planners.iaunet import IAUNetPlanner
