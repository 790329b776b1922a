"""MaskAttn-UNet as published: images of 128 pixels on the longest side, patches of 128×128.

    nnUNetv2_plan_and_preprocess -d 20 -pl MaskAttnUNetPlannerLowRes -c 2d --verify_dataset_integrity
    nnUNetv2_train 20 2d 0 -p MaskAttnUNetLowResPlans -tr nnUNetTrainerMaskAttnUNet
    nnUNetv2_predict -d 20 -c 2d -f 0 -p MaskAttnUNetLowResPlans -tr nnUNetTrainerMaskAttnUNet -i IMAGES -o PREDICTIONS

Predictions have the size of the images. Everything that the planner chooses is in
``MaskAttnUNetLowResPlans.json``, under ``architecture`` and ``maskattn_unet``.
"""

from maskmed_nnu.nnunet.experiment_planning.planners.maskattn_unet import MaskAttnUNetPlannerLowRes
