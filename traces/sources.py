"""Where public recordings can be had, under which licence, and how to cite them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SOURCES", "Source"]


@dataclass(frozen=True)
class Source:
    """A public data set.

    Attributes:
        name: What people call it.
        what: What was recorded, and in which direction.
        form: The format name of this package, or the loader.
        where: Where to look for it.
        licence: What may be done with it.
        cite: What to cite.
        note: What to know before use.
    """

    name: str
    what: str
    form: str
    where: str
    licence: str
    cite: str
    note: str = ""


SOURCES: tuple[Source, ...] = (
    Source(
        "Belgium 4G/LTE (Ghent University)",
        "40 logs of LTE throughput on foot and by bicycle, bus, car, train and tram, about 1 s per row; downlink",
        "belgium-log, belgium-csv",
        "users.ugent.be/~jvdrhoof/dataset-4g/",
        "none stated: do not redistribute",
        "J. van der Hooft et al., IEEE Communications Letters 20(11), 2016",
        "Papers on offloading use it as the uplink. This project scales it by 6/13 for that: LTE medians of 13 Mbit/s "
        "down and 6 up in Huang et al., MobiSys 2012.",
    ),
    Source(
        "NYU-METS",
        "LTE throughput in New York subways, buses, cars and ferries, 1 s per row; most likely uplink",
        "nyu-mets",
        "search for 'NYU-METS' (New York University, metropolitan mobile bandwidth traces)",
        "ODbL 1.0",
        "L. Mei et al., NYU-METS, 2019",
        "The direction is not stated beyond doubt (phone to an iPerf server).",
    ),
    Source(
        "NUWiNS 5G mmWave uplink",
        "uplink throughput and round-trip times of 5G mmWave and LTE, standing, walking and driving",
        "nuwins",
        "github.com/NUWiNS/sigcomm-5gmemu-5g-mmWave-uplink-data",
        "none stated: do not redistribute",
        "M. Ghoshal et al., An In-Depth Study of Uplink Performance of 5G mmWave Networks, 5G-MeMU 2022",
        "Ping and throughput were not measured at the same time. The period of 0.1 s is inferred.",
    ),
    Source(
        "Mahimahi traces",
        "packet-delivery times of cellular links, one line per 1500-byte packet, uplink and downlink",
        "mahimahi",
        "github.com/ravinet/mahimahi (folder traces)",
        "see its repository",
        "R. Netravali et al., Mahimahi: Accurate Record-and-Replay for HTTP, USENIX ATC 2015",
    ),
    Source(
        "Azure Functions 2019",
        "invocations per minute of serverless functions, two weeks",
        "load_azure_functions",
        "github.com/Azure/AzurePublicDataset",
        "CC-BY-4.0",
        "M. Shahrad et al., Serverless in the Wild, USENIX ATC 2020",
        "Counts per minute: burstiness within a minute is not recorded.",
    ),
    Source(
        "Azure LLM inference 2023",
        "arrival time and token counts of requests to two services (code: very bursty; conversation: near Poisson)",
        "load_azure_llm",
        "github.com/Azure/AzurePublicDataset",
        "CC-BY-4.0",
        "P. Patel et al., Splitwise: Efficient Generative LLM Inference Using Phase Splitting, ISCA 2024",
    ),
)
