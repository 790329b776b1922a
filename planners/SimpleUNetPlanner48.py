"""SimpleUNet of width 48, the widest preset.

    nnUNetv2_plan_and_preprocess -d 4 -pl SimpleUNetPlanner48 -c 3d_fullres --verify_dataset_integrity
    nnUNetv2_train 4 3d_fullres 0 -p SimpleUNet48Plans -tr nnUNetTrainerSimpleUNet
    nnUNetv2_predict -d 4 -c 3d_fullres -f 0 -p SimpleUNet48Plans -tr nnUNetTrainerSimpleUNet -i IMAGES -o PREDICTIONS

Everything that the planner chooses is in ``SimpleUNet48Plans.json``, under ``architecture`` and ``simple_unet``.
"""

from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlanner48
