"""SimpleESKNet of width 32 with two blocks per stage, ten times the parameters of SimpleUNet.

    nnUNetv2_plan_and_preprocess -d 4 -pl SimpleUNetPlannerESK -c 3d_fullres --verify_dataset_integrity
    nnUNetv2_train 4 3d_fullres 0 -p SimpleUNetESKPlans -tr nnUNetTrainerSimpleUNet
    nnUNetv2_predict -d 4 -c 3d_fullres -f 0 -p SimpleUNetESKPlans -tr nnUNetTrainerSimpleUNet -i IMAGES -o PREDICTIONS

Everything that the planner chooses is in ``SimpleUNetESKPlans.json``, under ``architecture`` and ``simple_unet``.
"""

from maskmed_nnu.nnunet.experiment_planning.planners.simple_unet import SimpleUNetPlannerESK
