"""One honest predicate of each kind, as JSON, for tests that then make one thing wrong."""

from __future__ import annotations

IMAGE = "ab" * 32
OTHER = "cd" * 32
PLAN_ID = "11" * 32
MOMENT = "2026-03-01T12:00:00Z"

RUNNER = {"id": "runner-1", "keyId": "0f" * 32, "bootId": "boot", "seq": 1, "prev": None}


def plan(**changes):
    value = {
        "submission": {
            "id": "s-1",
            "vendor": "acme",
            "model": "digits",
            "modelVersion": "1",
            "proprietary": True,
            "framework": "onnxruntime",
            "documentSha256": OTHER,
        },
        "vendorSeq": 1,
        "prevPlan": None,
        "image": {"configDigest": f"sha256:{IMAGE}", "manifestDigest": None, "diffIds": [f"sha256:{OTHER}"]},
        "method": "jouleseal-method/1",
        "official": True,
        "hardwareClass": "cpu",
        "devices": [{"uuid": "cpu:0", "name": "CPU"}],
        "cells": [
            {
                "id": "image-classification/latency/fp32",
                "task": "image-classification",
                "scenario": "latency",
                "precision": "fp32",
                "batch": 1,
                "points": 1000,
                "runs": 10,
                "dataset": {
                    "name": "embedded-digits",
                    "sha256": OTHER,
                    "sources": {"digits": 1000},
                    "thirds": False,
                    "shard": False,
                },
            }
        ],
        "orderRule": "sha256-sort/1",
        "statistic": "mean-of-runs/1",
        "attemptsPerCell": 2,
        "abortReasons": ["INTERRUPTED"],
        "launchProfileSha256": OTHER,
        "runnerVersion": "0.1.0",
        "startedOn": MOMENT,
        "deadline": "2026-03-02T12:00:00Z",
    }
    return {**value, **changes}


def intent(campaign=PLAN_ID, attempt=1, **changes):
    cell = plan()["cells"][0]["id"]
    return {"campaign": campaign, "cell": cell, "attempt": attempt, "declaredOn": MOMENT, **changes}


def run(number=1, **changes):
    value = {
        "run": number,
        "window": f"run-{number}",
        "timelineSha256": OTHER,
        "queries": 1000,
        "samples": 1000,
        "passes": 1,
        "figures": {"durationNs": "5", "energyMj": {"gpu": {"kind": "unmeasured", "reason": "no accelerator"}}},
        "responses": {"root": OTHER, "leaves": 1000},
        "quality": {"metric": "accuracy", "value": "0.9430", "errors": 0},
        "discarded": False,
    }
    return {**value, **changes}


def outcome(index=1, intent_id=PLAN_ID, campaign=PLAN_ID, nonce=OTHER, attempt=1, **changes):
    value = {
        "campaign": campaign,
        "intent": {"logIndex": index, "id": intent_id},
        "cell": intent()["cell"],
        "attempt": attempt,
        "nonce": nonce,
        "status": "completed",
        "abort": None,
        "startedOn": MOMENT,
        "finishedOn": MOMENT,
        "traceSha256": OTHER,
        "traceChain": OTHER,
        "runs": [run()],
        "environment": {"engine": "20.10", "device": {}},
        "resolvedDependencies": [{"name": "dataset:embedded-digits", "digest": {"sha256": OTHER}}],
        "byproducts": [{"name": "meter-record", "digest": {"sha256": OTHER}, "mediaType": "application/x-ndjson"}],
    }
    return {**value, **changes}


def aborted(index=1, intent_id=PLAN_ID, campaign=PLAN_ID, nonce=OTHER, **changes):
    nothing = {"runs": [], "traceSha256": None, "traceChain": None, "byproducts": [], "resolvedDependencies": []}
    reason = {"status": "aborted", "abort": {"code": "INTERRUPTED", "blame": "rig"}}
    return outcome(index, intent_id, campaign, nonce, **{**nothing, **reason, **changes})


def result(links=(), campaign=PLAN_ID, **changes):
    value = {
        "campaign": campaign,
        "status": "completed",
        "failure": None,
        "outcomes": [{"logIndex": index, "id": statement} for index, statement in links],
        "cells": [
            {
                "id": intent()["cell"],
                "outcome": OTHER,
                "recomputed": {"duration_ns": "5"},
                "committed": {"accuracy": "0.9430"},
            }
        ],
        "certifiable": False,
        "flags": ["estimated-energy"],
        "byproducts": [{"name": "VERIFY.txt", "digest": {"sha256": OTHER}}],
    }
    return {**value, **changes}


ALL = {"campaign-plan": plan, "session-intent": intent, "session-outcome": outcome, "campaign-result": result}
