# Phase 0: raw source -> records -> deduped -> split -> tokenizer, lexicon -> encoded parts, features.

rule generate_corpus:
    output:
        corpus=f"{RUN}/data/corpus.jsonl",
        truth=f"{RUN}/data/corpus_truth.json",
    log:
        f"{RUN}/logs/generate_corpus.log",
    params:
        **shared("generate_corpus"),
    script:
        "../scripts/generate_corpus.py"


rule read_records:
    input:
        # The demo's corpus is made by the run.
        source=[] if SOURCE else rules.generate_corpus.output[:1],
    output:
        records=f"{RUN}/data/records.jsonl",
        report=f"{RUN}/data/records_report.json",
    log:
        f"{RUN}/logs/read_records.log",
    params:
        **shared("read_records"),
        outside=outside(**READ) if READ else {},
    script:
        "../scripts/read_records.py"


rule find_duplicates:
    input:
        records=f"{RUN}/data/records.jsonl",
    output:
        pairs=f"{RUN}/data/duplicates/{{shard}}_of_{SHARDS}.npz",
    log:
        f"{RUN}/logs/find_duplicates_{{shard}}_of_{SHARDS}.log",
    benchmark:
        f"{RUN}/benchmarks/find_duplicates_{{shard}}_of_{SHARDS}.tsv"
    params:
        **shared("find_duplicates"),
    script:
        "../scripts/find_duplicates.py"


rule deduplicate_records:
    input:
        records=f"{RUN}/data/records.jsonl",
        # With one shard, this job searches for the duplicates itself.
        pairs=expand(rules.find_duplicates.output.pairs, shard=range(SHARDS)) if SHARDS > 1 else [],
    output:
        deduped=f"{RUN}/data/deduped.json",
        report=f"{RUN}/data/dedup_report.json",
    log:
        f"{RUN}/logs/deduplicate_records.log",
    benchmark:
        f"{RUN}/benchmarks/deduplicate_records.tsv"
    params:
        **shared("deduplicate_records"),
    script:
        "../scripts/deduplicate_records.py"


rule split_records:
    input:
        deduped=f"{RUN}/data/deduped.json",
    output:
        **{part: f"{RUN}/data/split/{part}.json" for part in PARTS},
        clusters=f"{RUN}/data/split/clusters.json",
        report=f"{RUN}/data/split_report.json",
    log:
        f"{RUN}/logs/split_records.log",
    params:
        **shared("split_records"),
        outside=outside(kept=KEPT),
    script:
        "../scripts/split_records.py"


rule train_tokenizer:
    input:
        train=f"{RUN}/data/split/train.json",
    output:
        tokenizer=f"{RUN}/data/tokenizer.json",
    log:
        f"{RUN}/logs/train_tokenizer.log",
    params:
        **shared("train_tokenizer"),
    script:
        "../scripts/train_tokenizer.py"


rule import_trunk:
    output:
        config=f"{RUN}/trunk/config.json",
        weights=f"{RUN}/trunk/weights.pt",
        tokenizer=f"{RUN}/trunk/tokenizer.json",
    log:
        f"{RUN}/logs/import_trunk.log",
    params:
        **shared("import_trunk"),
        outside=outside(source=TRUNK_SOURCE),
    script:
        "../scripts/import_trunk.py"


rule fit_lexicon:
    input:
        train=f"{RUN}/data/split/train.json",
    output:
        lexicon=f"{RUN}/data/lexicon.npz",
    log:
        f"{RUN}/logs/fit_lexicon.log",
    params:
        **shared("fit_lexicon"),
    script:
        "../scripts/fit_lexicon.py"


rule fit_scales:
    input:
        train=f"{RUN}/data/split/train.json",
    output:
        scales=f"{RUN}/{run_files.SCALES}",
    log:
        f"{RUN}/logs/fit_scales.log",
    params:
        **shared("fit_scales"),
    script:
        "../scripts/fit_scales.py"


rule encode_part:
    input:
        **SCALES,
        records=f"{RUN}/data/split/{{part}}.json",
        tokenizer=TOKENIZER,
        lexicon=f"{RUN}/data/lexicon.npz",
        trunk=LEARNING_TRUNK[:1],
    output:
        encoded=f"{RUN}/data/encoded/{{part}}.npz",
    log:
        f"{RUN}/logs/encode_part_{{part}}.log",
    params:
        **shared("encode_part"),
    script:
        "../scripts/encode_part.py"


rule extract_features:
    input:
        encoded=f"{RUN}/data/encoded/{{part}}.npz",
        sentences=[f"{RUN}/data/split/{{part}}.json", TOKENIZER] if SENTENCES else [],
        config=f"{RUN}/trunk/config.json",
        weights=f"{RUN}/trunk/weights.pt",
    output:
        features=f"{RUN}/data/features/{{part}}.npz",
    log:
        f"{RUN}/logs/extract_features_{{part}}.log",
    benchmark:
        f"{RUN}/benchmarks/extract_features_{{part}}.tsv"
    params:
        **shared("extract_features"),
    resources:
        gpu=1,
    script:
        "../scripts/extract_features.py"


rule dedupe:
    input:
        rules.deduplicate_records.output,


rule split:
    input:
        rules.split_records.output,
