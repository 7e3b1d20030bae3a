"""Check 11: every statement is about the plan's image, and it is the image that the auditor asked about."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.attestation.digest import IMAGE_DIGEST_PREFIX
from verifier.demands import Demands
from verifier.facts import Story
from verifier.walk import Established, Findings, false


def check(stories: Sequence[Story], demands: Demands) -> Established[tuple[str, ...]]:
    """Return the images of the campaigns, as `sha256:<hex>`, in the order of the campaigns."""
    findings = Findings()
    for story in stories:
        planned = story.plan.predicate.image.config_digest
        parts = [part for session in story.sessions for part in (session.intent, session.outcome)]
        for part in (story.plan, *parts, story.result):
            found = f"{IMAGE_DIGEST_PREFIX}{part.statement.subject_sha256}"
            if found != planned:
                findings.add(
                    false("OTHER_IMAGE", observed=f"{part.path} is about {found}", expected=f"{planned}, as planned")
                )
    findings.settle()
    images = tuple(story.plan.predicate.image.config_digest for story in stories)
    if demands.image is not None and demands.image not in images:
        raise false(
            "IMAGE_NOT_ASKED_FOR",
            observed=f"a result about {', '.join(images)}",
            expected=f"{demands.image}, as you asked",
            hint="this bundle says nothing about your image; ask for the bundle of that image",
        )
    asked = "" if demands.image is None else f"; {demands.image} is the one that you asked about"
    return Established(images, f"every statement is about its plan's image: {', '.join(images)}{asked}")
