"""SimpleUNet of width 32, the default of the family. Runs on a laptop's CPU; planned patches are nnU-Net's own.

    nnUNetv2_plan_and_preprocess -d 4 -pl SimpleUNetPlanner -c 3d_fullres --verify_dataset_integrity
    nnUNetv2_train 4 3d_fullres 0 -p SimpleUNetPlans -tr nnUNetTrainerSimpleUNet
    nnUNetv2_predict -d 4 -c 3d_fullres -f 0 -p SimpleUNetPlans -tr nnUNetTrainerSimpleUNet -i IMAGES -o PREDICTIONS

Everything that the planner chooses is in ``SimpleUNetPlans.json``, under ``architecture`` and ``simple_unet``.
"""

from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlanner
