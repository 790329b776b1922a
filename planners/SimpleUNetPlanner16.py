"""SimpleUNet of width 16, the smallest: sixteen thousand parameters in 2D with five stages.

    nnUNetv2_plan_and_preprocess -d 4 -pl SimpleUNetPlanner16 -c 3d_fullres --verify_dataset_integrity
    nnUNetv2_train 4 3d_fullres 0 -p SimpleUNet16Plans -tr nnUNetTrainerSimpleUNet
    nnUNetv2_predict -d 4 -c 3d_fullres -f 0 -p SimpleUNet16Plans -tr nnUNetTrainerSimpleUNet -i IMAGES -o PREDICTIONS

Everything that the planner chooses is in ``SimpleUNet16Plans.json``, under ``architecture`` and ``simple_unet``.
"""

from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlanner16
