"""MaskMed on nnU-Net's plain encoder and decoder, the default. Made for the size that nnU-Net plans by default.

    nnUNetv2_plan_and_preprocess -d 4 -pl MaskMedPlanner --verify_dataset_integrity
    nnUNetv2_train 4 3d_fullres 0 -p MaskMedPlans -tr nnUNetTrainerMaskMed
    nnUNetv2_predict -d 4 -c 3d_fullres -f 0 -p MaskMedPlans -tr nnUNetTrainerMaskMed -i IMAGES -o PREDICTIONS

Everything that the planner chooses is in ``MaskMedPlans.json``, under ``architecture`` and ``set_loss``.
"""

from maskmed_nnu.nnunet.experiment_planning.planners.maskmed import MaskMedPlanner
