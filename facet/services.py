"""The parts of one process, each made once, when it is first needed."""

from functools import cache, cached_property

from facet.access.api_keys import ApiKeys
from facet.access.signed_links import Links
from facet.callbacks.sending import Deliveries
from facet.detector import create_detector
from facet.detector.base import Detector
from facet.intake.catalog import Catalog
from facet.intake.idempotency import IdempotencyKeys
from facet.intake.renditions import Renditions
from facet.intake.submitted_urls import SubmittedUrls
from facet.outbound.addresses import AddressRules
from facet.outbound.egress import Egress
from facet.persistence.database import Database
from facet.persistence.maintenance_completion import Completion
from facet.pictures.decoder import Decoder
from facet.reprocessing.feeder import Feeder
from facet.reprocessing.reprocessings import Reprocessings
from facet.settings import Settings, get_settings
from facet.storage import ObjectStore, open_store
from facet.work.claims import Claims
from facet.work.image_urls import ImageUrls


class Services:
    """One database, one object store, one way out and one detector for all that a process does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.sqlalchemy_url)

    @cached_property
    def store(self) -> ObjectStore:
        return open_store(self.settings)

    @cached_property
    def decoder(self) -> Decoder:
        return Decoder(self.settings)

    @cached_property
    def catalog(self) -> Catalog:
        return Catalog(self.database, self.store, self.decoder, self.settings)

    @cached_property
    def renditions(self) -> Renditions:
        return Renditions(self.store, self.decoder)

    @cached_property
    def image_urls(self) -> ImageUrls:
        egress = Egress(self.addresses, seconds=self.settings.fetch_timeout)
        return ImageUrls(self.store, self.claims, self.decoder, egress, max_bytes=self.settings.max_image_bytes)

    @cached_property
    def claims(self) -> Claims:
        return Claims(self.database, self.settings)

    @cached_property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.database, self.egress, self.settings)

    @cached_property
    def addresses(self) -> AddressRules:
        return AddressRules(self.settings.outbound_allow)

    @cached_property
    def submitted_urls(self) -> SubmittedUrls:
        return SubmittedUrls(self.addresses)

    @cached_property
    def egress(self) -> Egress:
        return Egress(self.addresses, seconds=self.settings.callback_timeout)

    @cached_property
    def idempotency(self) -> IdempotencyKeys:
        return IdempotencyKeys(self.database, hours=self.settings.idempotency_hours)

    @cached_property
    def keys(self) -> ApiKeys:
        return ApiKeys(self.database, self.settings)

    @cached_property
    def links(self) -> Links:
        return Links(self.settings)

    @cached_property
    def reprocessings(self) -> Reprocessings:
        return Reprocessings(self.database)

    @cached_property
    def feeder(self) -> Feeder:
        return Feeder(self.database, self.settings)

    @cached_property
    def completion(self) -> Completion:
        return Completion(self.database, self.settings)

    @cached_property
    def detector(self) -> Detector:
        return create_detector(self.settings.detector, threads=self.settings.detector_threads)


@cache
def get_services() -> Services:
    """The services of this process."""
    return Services(get_settings())
