# What the best model, or both of an ensemble, predicts, in parts; then ensemble, postprocessing and evaluation.


def parts(model):
    return [f"done/predict/{model.name}/part_{part}" for part in range(PREDICT.parts)]


if PREDICT is not None:

    rule predict:
        input:
            BEST,
            # a cascade starts from predictions of all images
            lambda wildcards: parts(first) if (first := STUDY.first_stage(STUDY.model(wildcards.model))) else [],
        output:
            touch("done/predict/{model}/part_{part}"),
        log:
            "logs/predict/{model}/part_{part}.log",
        threads: JOBS.predict.cpus
        resources:
            mem_mb=memory("predict", "predict/{model}/part_{part}"),
            runtime=needs.minutes(JOBS.predict),
            gpu=graphics("predict"),
            tasks_per_gpu=0,
        params:
            model=lambda wildcards: STUDY.model(wildcards.model),
            images=shlex.quote(str(STUDY.images)),
            output=lambda wildcards: shlex.quote(str(STUDY.prediction_folder(wildcards.model))),
            probabilities=lambda wildcards: "--save_probabilities" if len(STUDY.chosen()) > 1 else "",
            stage=lambda wildcards: (
                f"-prev_stage_predictions {shlex.quote(str(STUDY.prediction_folder(first.name)))}"
                if (first := STUDY.first_stage(STUDY.model(wildcards.model)))
                else ""
            ),
        shell:
            # --continue_prediction: an attempt after the first predicts what is missing
            JOB + " predict/{wildcards.model}/part_{wildcards.part} --cpus {threads}"
            f" --gpus {graphics('predict')} --part {{wildcards.part}} {PREDICT.parts} --inputs {{input}}"
            f" -- nnUNetv2_predict -d {NUMBER}"
            " -i {params.images} -o {params.output} -tr {params.model.trainer} -p {params.model.plans}"
            f" -c {{params.model.configuration}} -f {FOLDS} -device {CONFIG.device} --continue_prediction"
            " --disable_progress_bar -npp {threads} -nps {threads} {params.probabilities} {params.stage}"

    rule ensemble:
        input:
            lambda wildcards: [part for model in chosen() for part in parts(model)],
        output:
            touch("done/ensemble"),
        log:
            "logs/ensemble.log",
        threads: JOBS.evaluate.cpus
        resources:
            mem_mb=memory("evaluate", "ensemble"),
            runtime=needs.minutes(JOBS.evaluate),
        params:
            folders=lambda wildcards: shlex.join(str(STUDY.prediction_folder(model.name)) for model in STUDY.chosen()),
        shell:
            JOB + " ensemble --cpus {threads} -- nnUNetv2_ensemble -i {params.folders}"
            f" -o {HERE}/predictions/ensemble -np {{threads}}"

    rule postprocess:
        input:
            lambda wildcards: ["done/ensemble"] if len(models := chosen()) > 1 else parts(models[0]),
        output:
            touch("done/postprocess"),
        log:
            "logs/postprocess.log",
        threads: JOBS.evaluate.cpus
        resources:
            mem_mb=memory("evaluate", "postprocess"),
            runtime=needs.minutes(JOBS.evaluate),
        params:
            source=lambda wildcards: (
                f"{HERE}/predictions/{'ensemble' if len(STUDY.chosen()) > 1 else STUDY.chosen()[0].name}"
            ),
            steps=lambda wildcards: shlex.quote(str(STUDY.best()["postprocessing_file"])),
            plans=lambda wildcards: shlex.quote(str(STUDY.best()["some_plans_file"])),
        shell:
            JOB + " postprocess --cpus {threads} -- nnUNetv2_apply_postprocessing -i {params.source}"
            f" -o {HERE}/predictions/final -pp_pkl_file {{params.steps}} -plans_json {{params.plans}} -np {{threads}}"


def predicted():
    """All of it; objects have no postprocessing."""
    models = chosen()
    if STUDY.best()["postprocessing_file"] is not None:
        return ["done/postprocess"]
    return [part for model in models for part in parts(model)]


if PREDICT is not None and PREDICT.truth is not None:

    rule evaluate:
        input:
            lambda wildcards: predicted(),
        output:
            table="scores.csv",
            scores="scores.json",
        log:
            "logs/evaluate.log",
        threads: JOBS.evaluate.cpus
        resources:
            mem_mb=memory("evaluate", "evaluate"),
            runtime=needs.minutes(JOBS.evaluate),
        params:
            predictions=lambda wildcards: shlex.quote(str(STUDY.final_predictions())),
            truth=shlex.quote(str(STUDY.truth)),
            classes=shlex.quote(str(STUDY.preprocessed / "dataset.json")),
        shell:
            JOB + " evaluate --cpus {threads} -- maskmed evaluate {params.predictions} {params.truth}"
            " --dataset-json {params.classes}"
            f" --only-predicted --csv {HERE}/{{output.table}} --json-file {HERE}/{{output.scores}}"
