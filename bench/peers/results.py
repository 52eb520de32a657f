"""From the single runs to one row for each program, its share of the machine's limits, and the table."""
import statistics

MEASURED = {"prefill_tps": max, "decode_tps": max, "rss_bytes": min, "load_ms": min}  # and which of two is better
LIMITS = ("read_limit_gbs", "arithmetic_limit_tflops")
OURS = "inkstone"
REPACKED = " rtr"  # ends the name of a variant with run-time repacking


def medians(runs):
    return {key: statistics.median(run[key] for run in runs) for key in MEASURED}


def better_of(plain, repacked):
    """One row of the better value of each column; "repacked" lists the columns that came from the second."""
    row = {key: better(plain[key], repacked[key]) for key, better in MEASURED.items()}
    return row | {"repacked": [key for key in MEASURED if row[key] != plain[key]]}


def summarize(runs, flop_per_token):
    """runs: {program: [run, ...]}, a program with a variant of the name + " rtr" gets one row of both.

    Returns {"limits": {...}, "programs": {program: row}}.
    """
    rows = {}
    for name in runs:
        if name + REPACKED in runs:
            rows[name] = better_of(medians(runs[name]), medians(runs[name + REPACKED]))
        elif not name.endswith(REPACKED):
            rows[name] = medians(runs[name])
    limits = {key: statistics.median(run[key] for run in runs[OURS]) for key in LIMITS if key in runs[OURS][0]}
    read_per_token = statistics.median(run["read_gbs"] / run["decode_tps"] for run in runs[OURS])
    for row in rows.values():
        row["read_gbs"] = read_per_token * row["decode_tps"]
        row["decode_share"] = row["read_gbs"] / limits["read_limit_gbs"]
        if "arithmetic_limit_tflops" in limits:
            row["prefill_share"] = row["prefill_tps"] * flop_per_token / (limits["arithmetic_limit_tflops"] * 1e12)
    return {"limits": limits, "programs": rows}


def ratios(rows):
    """Ours over the better of the others, column by column."""
    others = [row for name, row in rows.items() if name != OURS]
    return {key: rows[OURS][key] / better(row[key] for row in others) for key, better in MEASURED.items()}


def table_head(prompt):
    return (f"| type | program | prefill {prompt} t/s | decode t/s | resident GB | start ms | GB/s read | limit GB/s | share |\n"
            "|---|---|---|---|---|---|---|---|---|")


def table_rows(kind, summary, versions):
    """The rows of one type: each program, then the ratio."""
    rows = summary["programs"]
    for name, row in rows.items():
        def cell(key, form, scale=1.0):
            return format(row[key] * scale, form) + (REPACKED if key in row.get("repacked", ()) else "")
        yield "| " + " | ".join([
            kind, f"{name} {versions.get(name, '')}".strip(), cell("prefill_tps", ".1f"), cell("decode_tps", ".2f"),
            cell("rss_bytes", ".2f", 1e-9), cell("load_ms", ".0f"), cell("read_gbs", ".1f"),
            f"{summary['limits']['read_limit_gbs']:.1f}", f"{row['decode_share']:.0%}".replace("%", " %")]) + " |"
    yield f"| {kind} | **ratio** | " + " | ".join(f"{value:.2f}" for value in ratios(rows).values()) + " | | | |"
