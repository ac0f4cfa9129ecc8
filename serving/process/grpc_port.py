"""What a gRPC server needs, checked before the ledger is opened: a start that is refused creates
nothing.
"""

from model_store.installation import install_command
from serving.errors import ListenError
from serving.process.listener import listen
from serving.settings import Settings


def check_grpc(settings: Settings) -> None:
    """Raise ListenError if a port for gRPC is set, but its packages are not installed or it is not
    free.
    """
    if settings.grpc_port is None:
        return
    try:
        import serving.v2.rpc  # noqa: F401
    except ModuleNotFoundError as error:
        raise ListenError(
            f"gRPC needs more packages ({error}): {install_command('grpc')}"
        ) from error
    listen(settings.host, settings.grpc_port, setting="CANDOR_GRPC_PORT").close()
