"""MaskAttn-UNet for images: labels, or objects where the data set has them.

    nnUNetv2_plan_and_preprocess -d 20 -pl MaskAttnUNetPlanner -c 2d --verify_dataset_integrity
    nnUNetv2_train 20 2d 0 -p MaskAttnUNetPlans -tr nnUNetTrainerMaskAttnUNet
    nnUNetv2_predict -d 20 -c 2d -f 0 -p MaskAttnUNetPlans -tr nnUNetTrainerMaskAttnUNet -i IMAGES -o PREDICTIONS

Objects are trained by ``nnUNetTrainerMaskAttnUNetInstance`` or ``nnUNetTrainerMaskAttnUNetPanoptic``. Everything that
the planner chooses is in ``MaskAttnUNetPlans.json``, under ``architecture`` and ``maskattn_unet``.
"""

from maskmed_nnu.nnunet.experiment_planning.planners.maskattn_unet import MaskAttnUNetPlanner
