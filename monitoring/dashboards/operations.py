"""Is the service itself well: answers in time, queue, refusals, labels that are not taken, the processes?"""

from grafana_foundation_sdk.builders import dashboard

from monitoring.dashboards.frame import frame
from monitoring.dashboards.panels import BYTES, COUNT, HALF, PER_SECOND, PLAIN, RATIO, SECONDS, Query, Size, lines

THIRD = Size(8, 8)
BY_VERSION = "{{model}} {{version}}"


def operations() -> dashboard.Dashboard:
    """The dashboard."""
    board = frame("candor-operations", "Candor: operations", "Are answers given, in time, and written down?")
    for part in (_requests, _inside, _labels, _spool, _processes):
        board = part(board)
    return board


def _requests(board: dashboard.Dashboard) -> dashboard.Dashboard:
    board = board.with_row(dashboard.Row("Requests"))
    duration = "sum by (le) (rate(candor_request_duration_seconds_bucket[$__rate_interval]))"
    for panel in (
        lines(
            "Answers per second",
            "All replicas.",
            Query("model_version:candor_requests:rate5m", BY_VERSION),
            unit=PER_SECOND,
            size=THIRD,
        ),
        lines(
            "Time to answer",
            "From a request's head to its answer, answered requests only.",
            *(Query(f"histogram_quantile({share}, {duration})", f"p{share[2:]}") for share in ("0.50", "0.90", "0.99")),
            unit=SECONDS,
            size=THIRD,
        ),
        lines(
            "Refused requests",
            "By reason, as a share of everything that was asked.",
            Query("reason:candor_requests_rejected:ratio5m", "{{reason}}"),
            unit=RATIO,
            size=THIRD,
        ),
    ):
        board = board.with_panel(panel)
    return board


def _inside(board: dashboard.Dashboard) -> dashboard.Dashboard:
    board = board.with_row(dashboard.Row("Inside"))
    decode, inference = "candor_decode_seconds", "candor_inference_seconds"
    batch = "candor_batch_size"
    rate = "sum(rate({name}_sum[$__rate_interval])) / (sum(rate({name}_count[$__rate_interval])) > 0)"
    slow = "histogram_quantile(0.99, sum by (le) (rate({name}_bucket[$__rate_interval])))"
    for panel in (
        lines(
            "Queue",
            "Requests admitted and not yet answered, on the fullest replica.",
            Query("max by (model, version) (candor_queue_length)", BY_VERSION),
            unit=COUNT,
            size=THIRD,
        ),
        lines(
            "Images inferred together",
            "The busier, the larger the batches.",
            Query(rate.format(name=batch), "mean"),
            Query(slow.format(name=batch), "p99"),
            unit=COUNT,
            size=THIRD,
        ),
        lines(
            "Where time goes",
            "Decoding of one image, inference of one batch.",
            Query(rate.format(name=decode), "decode, mean"),
            Query(slow.format(name=decode), "decode, p99"),
            Query(rate.format(name=inference), "inference, mean"),
            Query(slow.format(name=inference), "inference, p99"),
            unit=SECONDS,
            size=THIRD,
        ),
    ):
        board = board.with_panel(panel)
    return board


def _labels(board: dashboard.Dashboard) -> dashboard.Dashboard:
    board = board.with_row(dashboard.Row("Labels that were not recorded"))
    board = board.with_panel(
        lines(
            "Refused labels per hour",
            "By reason.",
            Query("sum by (reason) (rate(candor_feedback_rejected_total[$__rate_interval])) * 3600", "{{reason}}"),
            unit=COUNT,
            size=HALF,
        )
    )
    return board.with_panel(
        lines(
            "Labels waiting for their predictions",
            "They came before the answer with their request id; 100,000 may wait.",
            Query("max by (model) (candor_feedback_pending)", "{{model}}"),
            unit=COUNT,
            size=HALF,
        )
    )


def _spool(board: dashboard.Dashboard) -> dashboard.Dashboard:
    board = board.with_row(dashboard.Row("While the ledger is away"))
    rate = "sum by (instance) (rate({name}[$__rate_interval]))"
    for panel in (
        lines(
            "Answers in the spool",
            "They wait to be joined to the ledger (CANDOR_LEDGER_REQUIRED=false).",
            Query("sum by (instance) (candor_spool_rows)", "{{instance}}"),
            unit=COUNT,
            size=THIRD,
        ),
        lines(
            "Size of the spool",
            "Full at CANDOR_SPOOL_LIMIT_BYTES: then answers are refused.",
            Query("sum by (instance) (candor_spool_bytes)", "{{instance}}"),
            unit=BYTES,
            size=THIRD,
        ),
        lines(
            "Into the spool, and out of it",
            "Answers per second.",
            Query(rate.format(name="candor_spool_written_total"), "{{instance}} in"),
            Query(rate.format(name="candor_spool_joined_total"), "{{instance}} out"),
            unit=PER_SECOND,
            size=THIRD,
        ),
    ):
        board = board.with_panel(panel)
    return board


def _processes(board: dashboard.Dashboard) -> dashboard.Dashboard:
    board = board.with_row(dashboard.Row("Processes"))
    for panel in (
        lines(
            "Versions loaded",
            "By replica.",
            Query("sum by (instance) (candor_model_loaded)", "{{instance}}"),
            unit=PLAIN,
            size=THIRD,
        ),
        lines(
            "Processor",
            "Cores in use, by replica.",
            Query('rate(process_cpu_seconds_total{job="candor"}[$__rate_interval])', "{{instance}}"),
            unit=PLAIN,
            size=THIRD,
        ),
        lines(
            "Memory",
            "Resident, by replica. It should be flat.",
            Query('process_resident_memory_bytes{job="candor"}', "{{instance}}"),
            unit=BYTES,
            size=THIRD,
        ),
    ):
        board = board.with_panel(panel)
    return board
