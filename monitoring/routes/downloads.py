"""GET /models/{model}/report/download/{file}: the charts and tables of a model's page as files."""

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from monitoring.findings.windows import ALL
from monitoring.pages.downloads import Download, make_download
from monitoring.routes.reports import ReportRoutes
from monitoring.routes.request import read_span_of, read_version


class DownloadRoutes:
    """The handler of files. `reports` reads what they show."""

    def __init__(self, reports: ReportRoutes) -> None:
        self._reports = reports

    async def file(self, request: Request) -> Response:
        """One file, to be saved by a browser."""
        found = await to_thread.run_sync(self._make, request)
        headers = {
            "content-disposition": f'attachment; filename="{found.name}"',
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }
        return Response(found.content, headers=headers, media_type=found.media_type)

    def _make(self, request: Request) -> Download:
        query, path = request.query_params, request.path_params
        data = self._reports.page_data(
            path["model"], read_version(request), query.get("window", ALL), read_span_of(request)
        )
        return make_download(data, path["file"], of=query.get("class"))
