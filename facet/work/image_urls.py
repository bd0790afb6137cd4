"""Pictures that senders name by URL: fetched once, under the rules of callbacks, and stored as what was submitted."""

import hashlib

from facet.errors import ImageError, Unavailable
from facet.jobs import ImageJob
from facet.outbound.addresses import UrlRefused
from facet.outbound.egress import Answer, Egress, NotAnswered
from facet.pictures.decoder import Decoder
from facet.storage import ObjectStore
from facet.work.claims import Claims, LostClaim

_TRY_AGAIN = {408, 425, 429}


class NotFetched(Unavailable):
    """The URL's server does not send the picture now, and may later."""

    code = "image-url-unavailable"


class ImageUrls:
    """Fetches what jobs name. Safe to use from several threads."""

    def __init__(self, store: ObjectStore, claims: Claims, decoder: Decoder, egress: Egress, *, max_bytes: int) -> None:
        self._store = store
        self._claims = claims
        self._decoder = decoder
        self._egress = egress
        self._max_bytes = max_bytes

    def fetch(self, job: ImageJob) -> tuple[ImageJob, bytes]:
        """Fetch the job's picture, check it as a submitted one is checked, and store it with what is known of it.

        Raises ImageError where a second try would end the same, NotFetched where it may not, LostClaim and Unavailable.
        """
        data = self._download(str(job.image_url))
        header = self._decoder.check(data)
        self._store.put(job.original_key, data, header.media_type)
        try:
            self._claims.store_original(job, header, len(data), hashlib.sha256(data).hexdigest())
        except LostClaim:
            self._store.delete(job.original_key)  # this claim's own, which nobody else reads
            raise
        return job.with_changes(image_url=None, width=header.width, height=header.height), data

    def _download(self, url: str) -> bytes:
        try:
            answer = self._egress.request("GET", url, headers={"Accept": "image/*"}, max_bytes=self._max_bytes + 1)
        except UrlRefused as error:
            raise ImageError("image-url-refused", f"{error} {error.fix}") from error
        except NotAnswered as error:
            raise NotFetched(f"The image_url gives no answer. {error}") from error
        if answer.status_code != 200:
            self._refuse(answer)
        if len(answer.body) > self._max_bytes:
            raise ImageError("too-large", f"The file of the image_url has more than {self._max_bytes} bytes.")
        if answer.cut:
            raise NotFetched("The server of the image_url did not send the whole file in time.")
        return answer.body

    @staticmethod
    def _refuse(answer: Answer) -> None:
        said = f"The server of the image_url answered {answer.status_code}"
        if answer.status_code in _TRY_AGAIN or answer.status_code >= 500:
            raise NotFetched(f"{said}.")
        if 300 <= answer.status_code < 400:
            raise ImageError("image-url-failed", f"{said}; redirects are not followed.")
        raise ImageError("image-url-failed", f"{said}.")
