"""Reads the tokens file again while the process runs, to rotate tokens without a restart, and the
sessions that people ended on other servers.
"""

import asyncio
import logging
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from hosting.auth import AccessControl
from hosting.errors import SettingsError
from hosting.settings import Settings
from hosting.tokens import read_grants

LOOK_S: Final = 2.0
SESSIONS_S: Final = 1.0
logger = logging.getLogger(__name__)


async def keep_tokens(access: AccessControl, settings: Settings) -> None:
    """Read the file every LOOK_S until cancelled; a broken one is logged once and ignored."""
    if settings.tokens_file is None:
        return
    told = ""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            grants = await asyncio.to_thread(
                read_grants, settings.tokens_text, settings.tokens_file
            )
        except SettingsError as error:
            if str(error) != told:
                logger.error(
                    "the tokens stay as they were", extra={"fields": {"reason": str(error)}}
                )
            told = str(error)
            continue
        told = ""
        if access.use(grants):
            logger.info("tokens were read again", extra={"fields": {"tokens": len(grants)}})


async def keep_sessions(access: AccessControl) -> None:
    """Learn every second which sessions ended elsewhere. Logs once that the ledger is away."""
    told = False
    while access.ended.ledger is not None and not access.is_open:
        await asyncio.sleep(SESSIONS_S)
        try:
            await asyncio.to_thread(access.ended.look)
            told = False
        except SQLAlchemyError as error:
            if not told:
                logger.warning("sessions that others ended are unknown here: %s", error)
            told = True
