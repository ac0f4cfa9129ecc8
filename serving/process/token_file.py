"""Reads the tokens file again while the process runs, to rotate tokens without a restart."""

import asyncio
import logging
from typing import Final

from serving.errors import SettingsError
from serving.http.auth import AccessControl
from serving.http.tokens import read_grants
from serving.settings import Settings

LOOK_S: Final = 2.0
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
