"""The usual request at a front, without a task: a small image for a known input, whose bytes have
all arrived.
"""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from model_store.errors import BrokenImage
from serving.error_table import error_answer
from serving.fronts.front_images import FrontImages
from serving.fronts.main_link import MainLink, Reply
from serving.fronts.messages import ImageAdmitted, ImageAnswered, ImageSent
from serving.http.direct_exchange import DirectExchange


class FrontLane:
    """Sends images to the main process, and their answers to clients. `draining` says whether each
    is the last.
    """

    def __init__(
        self, *, images: FrontImages, link: MainLink, draining: Callable[[], bool]
    ) -> None:
        self._images, self._link, self._draining = images, link, draining

    def take(
        self, exchange: DirectExchange, path: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> bool:
        """See Lane. Anything unusual is left to FrontApp."""
        found = self._images.read(path, headers)
        if found is None or self._link.connection.is_full:
            return False
        image = found[1]
        admitted = self._images.input(image)
        decoded = None if admitted is None else self._images.decode(image, body, admitted)
        if decoded is None:
            return False
        decoded.number = self._link.next_number()
        exchange.left = partial(self._link.forget, decoded.number)
        self._link.listen(decoded.number, partial(self._reply, exchange, decoded, body))
        self._link.connection.send(decoded)
        return True

    def _reply(self, exchange: DirectExchange, image: ImageSent, body: bytes, reply: Reply) -> None:
        if isinstance(reply, ImageAnswered):
            exchange.answer(reply.body, close=self._draining())
        elif isinstance(reply, ImageAdmitted):  # the model was switched to one of another input
            self._send_again(exchange, image, body, reply)
        else:
            self._images.forget_input(image)
            phrase = HTTPStatus(reply.status).phrase.encode()
            close = reply.close or self._draining()
            exchange.answer(
                reply.body, status=reply.status, phrase=phrase, headers=reply.headers, close=close
            )

    def _send_again(
        self, exchange: DirectExchange, image: ImageSent, body: bytes, admitted: ImageAdmitted
    ) -> None:
        decoded = self._images.decode(image, body, admitted)
        if decoded is None:
            self._link.forget(image.number)
            answer = error_answer(
                BrokenImage("its colors cannot be converted to those that the model takes now.")
            )
            self._link.count_refusal(answer.code)
            phrase = answer.phrase.encode()
            exchange.answer(
                answer.body(), status=answer.status, phrase=phrase, close=self._draining()
            )
            return
        self._link.listen(image.number, partial(self._reply, exchange, decoded, body))
        self._link.connection.send(decoded)
