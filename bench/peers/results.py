"""From the single runs to one row for each program, its share of the machine's limits, and the table."""
import statistics

MEASURED = {"prefill_tps": max, "decode_tps": max, "rss_bytes": min, "load_ms": min}  # and which of two is better
LIMITS = ("read_limit_gbs", "arithmetic_limit_tflops")
OURS = "inkstone"
REPACKED = " rtr"  # ends the name of a variant with run-time repacking


def row_of(runs):
    """The median of each column, and from where to where it went: "spread"."""
    row = {key: statistics.median(run[key] for run in runs) for key in MEASURED}
    return row | {"spread": {key: [min(run[key] for run in runs), max(run[key] for run in runs)] for key in MEASURED}}


def better_of(plain, repacked):
    """One row of the better median of each column; "repacked" lists the columns that came from the second."""
    chosen = [key for key, better in MEASURED.items() if better(plain[key], repacked[key]) != plain[key]]
    row = {key: (repacked if key in chosen else plain)[key] for key in MEASURED}
    spread = {key: (repacked if key in chosen else plain)["spread"][key] for key in MEASURED}
    return row | {"spread": spread, "repacked": chosen}


def summarize(runs, flop_per_token):
    """runs: {program: [run, ...]}, a program with a variant of the name + " rtr" gets one row of both.

    Returns {"limits": {...}, "programs": {program: row}}.
    """
    rows = {}
    for name in runs:
        if name + REPACKED in runs:
            rows[name] = better_of(row_of(runs[name]), row_of(runs[name + REPACKED]))
        elif not name.endswith(REPACKED):
            rows[name] = row_of(runs[name])
    limits = {key: statistics.median(run[key] for run in runs[OURS]) for key in LIMITS if key in runs[OURS][0]}
    read_per_token = statistics.median(run["read_gbs"] / run["decode_tps"] for run in runs[OURS])
    for row in rows.values():
        row["read_gbs"] = read_per_token * row["decode_tps"]
        row["decode_share"] = row["read_gbs"] / limits["read_limit_gbs"]
        if "arithmetic_limit_tflops" in limits:
            row["prefill_share"] = row["prefill_tps"] * flop_per_token / (limits["arithmetic_limit_tflops"] * 1e12)
    return {"limits": limits, "programs": rows}


def ratios(rows):
    """Our median over the better one of the others, column by column; nothing where there are no others."""
    others = [row for name, row in rows.items() if name != OURS]
    return {key: rows[OURS][key] / better(row[key] for row in others) for key, better in MEASURED.items()} if others else {}


def table_head(prompt):
    return (f"| type | program | prefill {prompt} t/s, min / median / max | decode t/s, min / median / max | resident GB | start ms | GB/s read | limit GB/s | share |\n"
            "|---|---|---|---|---|---|---|---|---|")


def table_rows(kind, summary, versions, failed):
    """The rows of one type: each program, the reasons of those that could not run, then the ratio."""
    rows = summary["programs"]

    def title(name):
        return f"{name} {versions.get(name, '')}".strip()

    for name, row in rows.items():
        def cell(key, form, scale=1.0):
            return format(row[key] * scale, form) + (REPACKED if key in row.get("repacked", ()) else "")

        def spread(key, form):
            low, high = row["spread"][key]
            return f"{low:{form}} / {cell(key, form)} / {high:{form}}"
        yield "| " + " | ".join([
            kind, title(name), spread("prefill_tps", ".1f"), spread("decode_tps", ".2f"),
            cell("rss_bytes", ".2f", 1e-9), cell("load_ms", ".0f"), cell("read_gbs", ".1f"),
            f"{summary['limits']['read_limit_gbs']:.1f}", f"{row['decode_share']:.0%}".replace("%", " %")]) + " |"
    for name, reason in failed.items():
        yield f"| {kind} | {title(name)} | could not run: {reason.replace('|', '/')} | | | | | | |"
    values = ratios(rows).values()
    if values:
        yield f"| {kind} | **ratio** | " + " | ".join(f"{value:.2f}" for value in values) + " | | | |"
