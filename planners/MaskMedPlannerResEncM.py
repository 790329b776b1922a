"""MaskMed on nnU-Net's residual encoder, preset M. Made for a GPU with about 9 to 11 GB.

    nnUNetv2_plan_and_preprocess -d 4 -pl MaskMedPlannerResEncM --verify_dataset_integrity
    nnUNetv2_train 4 3d_fullres 0 -p MaskMedResEncMPlans -tr nnUNetTrainerMaskMed
    nnUNetv2_predict -d 4 -c 3d_fullres -f 0 -p MaskMedResEncMPlans -tr nnUNetTrainerMaskMed -i IMAGES -o PREDICTIONS

Everything that the planner chooses is in ``MaskMedResEncMPlans.json``, under ``architecture`` and ``set_loss``.
"""

from maskmed_nnu.nnunet.experiment_planning.planners.maskmed import MaskMedPlannerResEncM
