"""Counter indices and names of /proc/net/snmp and netstat, in the order of Linux 6.18, `<linux/snmp.h>` (sheet 07, 7.5).

An index counts from 0 within its array; a name is what the /proc column head says. `Ip` and `IpExt` share one array."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

IPSTATS_MIB_FORWARDING: Final = 0
IPSTATS_MIB_DEFAULTTTL: Final = 1
IPSTATS_MIB_INRECEIVES: Final = 2
IPSTATS_MIB_INHDRERRORS: Final = 3
IPSTATS_MIB_INADDRERRORS: Final = 4
IPSTATS_MIB_FORWDATAGRAMS: Final = 5
IPSTATS_MIB_INUNKNOWNPROTOS: Final = 6
IPSTATS_MIB_INDISCARDS: Final = 7
IPSTATS_MIB_INDELIVERS: Final = 8
IPSTATS_MIB_OUTREQUESTS: Final = 9
IPSTATS_MIB_OUTDISCARDS: Final = 10
IPSTATS_MIB_OUTNOROUTES: Final = 11
IPSTATS_MIB_REASMTIMEOUT: Final = 12
IPSTATS_MIB_REASMREQDS: Final = 13
IPSTATS_MIB_REASMOKS: Final = 14
IPSTATS_MIB_REASMFAILS: Final = 15
IPSTATS_MIB_FRAGOKS: Final = 16
IPSTATS_MIB_FRAGFAILS: Final = 17
IPSTATS_MIB_FRAGCREATES: Final = 18
IPSTATS_MIB_OUTTRANSMITS: Final = 19

ICMP_MIB_INMSGS: Final = 0
ICMP_MIB_INERRORS: Final = 1
ICMP_MIB_INCSUMERRORS: Final = 2
ICMP_MIB_INDESTUNREACHS: Final = 3
ICMP_MIB_INTIMEEXCDS: Final = 4
ICMP_MIB_INPARMPROBS: Final = 5
ICMP_MIB_INSRCQUENCHS: Final = 6
ICMP_MIB_INREDIRECTS: Final = 7
ICMP_MIB_INECHOS: Final = 8
ICMP_MIB_INECHOREPS: Final = 9
ICMP_MIB_INTIMESTAMPS: Final = 10
ICMP_MIB_INTIMESTAMPREPS: Final = 11
ICMP_MIB_INADDRMASKS: Final = 12
ICMP_MIB_INADDRMASKREPS: Final = 13
ICMP_MIB_OUTMSGS: Final = 14
ICMP_MIB_OUTERRORS: Final = 15
ICMP_MIB_OUTRATELIMITGLOBAL: Final = 16
ICMP_MIB_OUTRATELIMITHOST: Final = 17
ICMP_MIB_OUTDESTUNREACHS: Final = 18
ICMP_MIB_OUTTIMEEXCDS: Final = 19
ICMP_MIB_OUTPARMPROBS: Final = 20
ICMP_MIB_OUTSRCQUENCHS: Final = 21
ICMP_MIB_OUTREDIRECTS: Final = 22
ICMP_MIB_OUTECHOS: Final = 23
ICMP_MIB_OUTECHOREPS: Final = 24
ICMP_MIB_OUTTIMESTAMPS: Final = 25
ICMP_MIB_OUTTIMESTAMPREPS: Final = 26
ICMP_MIB_OUTADDRMASKS: Final = 27
ICMP_MIB_OUTADDRMASKREPS: Final = 28

TCP_MIB_RTOALGORITHM: Final = 0
TCP_MIB_RTOMIN: Final = 1
TCP_MIB_RTOMAX: Final = 2
TCP_MIB_MAXCONN: Final = 3
TCP_MIB_ACTIVEOPENS: Final = 4
TCP_MIB_PASSIVEOPENS: Final = 5
TCP_MIB_ATTEMPTFAILS: Final = 6
TCP_MIB_ESTABRESETS: Final = 7
TCP_MIB_CURRESTAB: Final = 8
TCP_MIB_INSEGS: Final = 9
TCP_MIB_OUTSEGS: Final = 10
TCP_MIB_RETRANSSEGS: Final = 11
TCP_MIB_INERRS: Final = 12
TCP_MIB_OUTRSTS: Final = 13
TCP_MIB_INCSUMERRORS: Final = 14

UDP_MIB_INDATAGRAMS: Final = 0
UDP_MIB_NOPORTS: Final = 1
UDP_MIB_INERRORS: Final = 2
UDP_MIB_OUTDATAGRAMS: Final = 3
UDP_MIB_RCVBUFERRORS: Final = 4
UDP_MIB_SNDBUFERRORS: Final = 5
UDP_MIB_INCSUMERRORS: Final = 6
UDP_MIB_IGNOREDMULTI: Final = 7
UDP_MIB_MEMERRORS: Final = 8

LINUX_MIB_SYNCOOKIESSENT: Final = 0
LINUX_MIB_SYNCOOKIESRECV: Final = 1
LINUX_MIB_SYNCOOKIESFAILED: Final = 2
LINUX_MIB_EMBRYONICRSTS: Final = 3
LINUX_MIB_PRUNECALLED: Final = 4
LINUX_MIB_RCVPRUNED: Final = 5
LINUX_MIB_OFOPRUNED: Final = 6
LINUX_MIB_OUTOFWINDOWICMPS: Final = 7
LINUX_MIB_LOCKDROPPEDICMPS: Final = 8
LINUX_MIB_ARPFILTER: Final = 9
LINUX_MIB_TIMEWAITED: Final = 10
LINUX_MIB_TIMEWAITRECYCLED: Final = 11
LINUX_MIB_TIMEWAITKILLED: Final = 12
LINUX_MIB_PAWSACTIVEREJECTED: Final = 13
LINUX_MIB_PAWSESTABREJECTED: Final = 14
LINUX_MIB_BEYONDWINDOW: Final = 15
LINUX_MIB_TSECRREJECTED: Final = 16
LINUX_MIB_PAWSOLDACK: Final = 17
LINUX_MIB_PAWSTIMEWAIT: Final = 18
LINUX_MIB_DELAYEDACKS: Final = 19
LINUX_MIB_DELAYEDACKLOCKED: Final = 20
LINUX_MIB_DELAYEDACKLOST: Final = 21
LINUX_MIB_LISTENOVERFLOWS: Final = 22
LINUX_MIB_LISTENDROPS: Final = 23
LINUX_MIB_TCPHPHITS: Final = 24
LINUX_MIB_TCPPUREACKS: Final = 25
LINUX_MIB_TCPHPACKS: Final = 26
LINUX_MIB_TCPRENORECOVERY: Final = 27
LINUX_MIB_TCPSACKRECOVERY: Final = 28
LINUX_MIB_TCPSACKRENEGING: Final = 29
LINUX_MIB_TCPSACKREORDER: Final = 30
LINUX_MIB_TCPRENOREORDER: Final = 31
LINUX_MIB_TCPTSREORDER: Final = 32
LINUX_MIB_TCPFULLUNDO: Final = 33
LINUX_MIB_TCPPARTIALUNDO: Final = 34
LINUX_MIB_TCPDSACKUNDO: Final = 35
LINUX_MIB_TCPLOSSUNDO: Final = 36
LINUX_MIB_TCPLOSTRETRANSMIT: Final = 37
LINUX_MIB_TCPRENOFAILURES: Final = 38
LINUX_MIB_TCPSACKFAILURES: Final = 39
LINUX_MIB_TCPLOSSFAILURES: Final = 40
LINUX_MIB_TCPFASTRETRANS: Final = 41
LINUX_MIB_TCPSLOWSTARTRETRANS: Final = 42
LINUX_MIB_TCPTIMEOUTS: Final = 43
LINUX_MIB_TCPLOSSPROBES: Final = 44
LINUX_MIB_TCPLOSSPROBERECOVERY: Final = 45
LINUX_MIB_TCPRENORECOVERYFAIL: Final = 46
LINUX_MIB_TCPSACKRECOVERYFAIL: Final = 47
LINUX_MIB_TCPRCVCOLLAPSED: Final = 48
LINUX_MIB_TCPBACKLOGCOALESCE: Final = 49
LINUX_MIB_TCPDSACKOLDSENT: Final = 50
LINUX_MIB_TCPDSACKOFOSENT: Final = 51
LINUX_MIB_TCPDSACKRECV: Final = 52
LINUX_MIB_TCPDSACKOFORECV: Final = 53
LINUX_MIB_TCPABORTONDATA: Final = 54
LINUX_MIB_TCPABORTONCLOSE: Final = 55
LINUX_MIB_TCPABORTONMEMORY: Final = 56
LINUX_MIB_TCPABORTONTIMEOUT: Final = 57
LINUX_MIB_TCPABORTONLINGER: Final = 58
LINUX_MIB_TCPABORTFAILED: Final = 59
LINUX_MIB_TCPMEMORYPRESSURES: Final = 60
LINUX_MIB_TCPMEMORYPRESSURESCHRONO: Final = 61
LINUX_MIB_TCPSACKDISCARD: Final = 62
LINUX_MIB_TCPDSACKIGNOREDOLD: Final = 63
LINUX_MIB_TCPDSACKIGNOREDNOUNDO: Final = 64
LINUX_MIB_TCPSPURIOUSRTOS: Final = 65
LINUX_MIB_TCPMD5NOTFOUND: Final = 66
LINUX_MIB_TCPMD5UNEXPECTED: Final = 67
LINUX_MIB_TCPMD5FAILURE: Final = 68
LINUX_MIB_TCPSACKSHIFTED: Final = 69
LINUX_MIB_TCPSACKMERGED: Final = 70
LINUX_MIB_TCPSACKSHIFTFALLBACK: Final = 71
LINUX_MIB_TCPBACKLOGDROP: Final = 72
LINUX_MIB_PFMEMALLOCDROP: Final = 73
LINUX_MIB_TCPMINTTLDROP: Final = 74
LINUX_MIB_TCPDEFERACCEPTDROP: Final = 75
LINUX_MIB_IPREVERSEPATHFILTER: Final = 76
LINUX_MIB_TCPTIMEWAITOVERFLOW: Final = 77
LINUX_MIB_TCPREQQFULLDOCOOKIES: Final = 78
LINUX_MIB_TCPREQQFULLDROP: Final = 79
LINUX_MIB_TCPRETRANSFAIL: Final = 80
LINUX_MIB_TCPRCVCOALESCE: Final = 81
LINUX_MIB_TCPOFOQUEUE: Final = 82
LINUX_MIB_TCPOFODROP: Final = 83
LINUX_MIB_TCPOFOMERGE: Final = 84
LINUX_MIB_TCPCHALLENGEACK: Final = 85
LINUX_MIB_TCPSYNCHALLENGE: Final = 86
LINUX_MIB_TCPFASTOPENACTIVE: Final = 87
LINUX_MIB_TCPFASTOPENACTIVEFAIL: Final = 88
LINUX_MIB_TCPFASTOPENPASSIVE: Final = 89
LINUX_MIB_TCPFASTOPENPASSIVEFAIL: Final = 90
LINUX_MIB_TCPFASTOPENLISTENOVERFLOW: Final = 91
LINUX_MIB_TCPFASTOPENCOOKIEREQD: Final = 92
LINUX_MIB_TCPFASTOPENBLACKHOLE: Final = 93
LINUX_MIB_TCPSPURIOUSRTXHOSTQUEUES: Final = 94
LINUX_MIB_BUSYPOLLRXPACKETS: Final = 95
LINUX_MIB_TCPAUTOCORKING: Final = 96
LINUX_MIB_TCPFROMZEROWINDOWADV: Final = 97
LINUX_MIB_TCPTOZEROWINDOWADV: Final = 98
LINUX_MIB_TCPWANTZEROWINDOWADV: Final = 99
LINUX_MIB_TCPSYNRETRANS: Final = 100
LINUX_MIB_TCPORIGDATASENT: Final = 101
LINUX_MIB_TCPHYSTARTTRAINDETECT: Final = 102
LINUX_MIB_TCPHYSTARTTRAINCWND: Final = 103
LINUX_MIB_TCPHYSTARTDELAYDETECT: Final = 104
LINUX_MIB_TCPHYSTARTDELAYCWND: Final = 105
LINUX_MIB_TCPACKSKIPPEDSYNRECV: Final = 106
LINUX_MIB_TCPACKSKIPPEDPAWS: Final = 107
LINUX_MIB_TCPACKSKIPPEDSEQ: Final = 108
LINUX_MIB_TCPACKSKIPPEDFINWAIT2: Final = 109
LINUX_MIB_TCPACKSKIPPEDTIMEWAIT: Final = 110
LINUX_MIB_TCPACKSKIPPEDCHALLENGE: Final = 111
LINUX_MIB_TCPWINPROBE: Final = 112
LINUX_MIB_TCPKEEPALIVE: Final = 113
LINUX_MIB_TCPMTUPFAIL: Final = 114
LINUX_MIB_TCPMTUPSUCCESS: Final = 115
LINUX_MIB_TCPDELIVERED: Final = 116
LINUX_MIB_TCPDELIVEREDCE: Final = 117
LINUX_MIB_TCPACKCOMPRESSED: Final = 118
LINUX_MIB_TCPZEROWINDOWDROP: Final = 119
LINUX_MIB_TCPRCVQDROP: Final = 120
LINUX_MIB_TCPWQUEUETOOBIG: Final = 121
LINUX_MIB_TCPFASTOPENPASSIVEALTKEY: Final = 122
LINUX_MIB_TCPTIMEOUTREHASH: Final = 123
LINUX_MIB_TCPDUPLICATEDATAREHASH: Final = 124
LINUX_MIB_TCPDSACKRECVSEGS: Final = 125
LINUX_MIB_TCPDSACKIGNOREDDUBIOUS: Final = 126
LINUX_MIB_TCPMIGRATEREQSUCCESS: Final = 127
LINUX_MIB_TCPMIGRATEREQFAILURE: Final = 128
LINUX_MIB_TCPPLBREHASH: Final = 129
LINUX_MIB_TCPAOREQUIRED: Final = 130
LINUX_MIB_TCPAOBAD: Final = 131
LINUX_MIB_TCPAOKEYNOTFOUND: Final = 132
LINUX_MIB_TCPAOGOOD: Final = 133
LINUX_MIB_TCPAODROPPEDICMPS: Final = 134

IPSTATS_MIB_INNOROUTES: Final = 20
IPSTATS_MIB_INTRUNCATEDPKTS: Final = 21
IPSTATS_MIB_INMCASTPKTS: Final = 22
IPSTATS_MIB_OUTMCASTPKTS: Final = 23
IPSTATS_MIB_INBCASTPKTS: Final = 24
IPSTATS_MIB_OUTBCASTPKTS: Final = 25
IPSTATS_MIB_INOCTETS: Final = 26
IPSTATS_MIB_OUTOCTETS: Final = 27
IPSTATS_MIB_INMCASTOCTETS: Final = 28
IPSTATS_MIB_OUTMCASTOCTETS: Final = 29
IPSTATS_MIB_INBCASTOCTETS: Final = 30
IPSTATS_MIB_OUTBCASTOCTETS: Final = 31
IPSTATS_MIB_INCSUMERRORS: Final = 32
IPSTATS_MIB_INNOECTPKTS: Final = 33
IPSTATS_MIB_INECT1PKTS: Final = 34
IPSTATS_MIB_INECT0PKTS: Final = 35
IPSTATS_MIB_INCEPKTS: Final = 36
IPSTATS_MIB_REASMOVERLAPS: Final = 37

IP_NAMES: Final[tuple[str, ...]] = (
    "Forwarding",
    "DefaultTTL",
    "InReceives",
    "InHdrErrors",
    "InAddrErrors",
    "ForwDatagrams",
    "InUnknownProtos",
    "InDiscards",
    "InDelivers",
    "OutRequests",
    "OutDiscards",
    "OutNoRoutes",
    "ReasmTimeout",
    "ReasmReqds",
    "ReasmOKs",
    "ReasmFails",
    "FragOKs",
    "FragFails",
    "FragCreates",
    "OutTransmits",
)
ICMP_NAMES: Final[tuple[str, ...]] = (
    "InMsgs",
    "InErrors",
    "InCsumErrors",
    "InDestUnreachs",
    "InTimeExcds",
    "InParmProbs",
    "InSrcQuenchs",
    "InRedirects",
    "InEchos",
    "InEchoReps",
    "InTimestamps",
    "InTimestampReps",
    "InAddrMasks",
    "InAddrMaskReps",
    "OutMsgs",
    "OutErrors",
    "OutRateLimitGlobal",
    "OutRateLimitHost",
    "OutDestUnreachs",
    "OutTimeExcds",
    "OutParmProbs",
    "OutSrcQuenchs",
    "OutRedirects",
    "OutEchos",
    "OutEchoReps",
    "OutTimestamps",
    "OutTimestampReps",
    "OutAddrMasks",
    "OutAddrMaskReps",
)
TCP_NAMES: Final[tuple[str, ...]] = (
    "RtoAlgorithm",
    "RtoMin",
    "RtoMax",
    "MaxConn",
    "ActiveOpens",
    "PassiveOpens",
    "AttemptFails",
    "EstabResets",
    "CurrEstab",
    "InSegs",
    "OutSegs",
    "RetransSegs",
    "InErrs",
    "OutRsts",
    "InCsumErrors",
)
UDP_NAMES: Final[tuple[str, ...]] = (
    "InDatagrams",
    "NoPorts",
    "InErrors",
    "OutDatagrams",
    "RcvbufErrors",
    "SndbufErrors",
    "InCsumErrors",
    "IgnoredMulti",
    "MemErrors",
)
TCPEXT_NAMES: Final[tuple[str, ...]] = (
    "SyncookiesSent",
    "SyncookiesRecv",
    "SyncookiesFailed",
    "EmbryonicRsts",
    "PruneCalled",
    "RcvPruned",
    "OfoPruned",
    "OutOfWindowIcmps",
    "LockDroppedIcmps",
    "ArpFilter",
    "TW",
    "TWRecycled",
    "TWKilled",
    "PAWSActive",
    "PAWSEstab",
    "BeyondWindow",
    "TSEcrRejected",
    "PAWSOldAck",
    "PAWSTimewait",
    "DelayedACKs",
    "DelayedACKLocked",
    "DelayedACKLost",
    "ListenOverflows",
    "ListenDrops",
    "TCPHPHits",
    "TCPPureAcks",
    "TCPHPAcks",
    "TCPRenoRecovery",
    "TCPSackRecovery",
    "TCPSACKReneging",
    "TCPSACKReorder",
    "TCPRenoReorder",
    "TCPTSReorder",
    "TCPFullUndo",
    "TCPPartialUndo",
    "TCPDSACKUndo",
    "TCPLossUndo",
    "TCPLostRetransmit",
    "TCPRenoFailures",
    "TCPSackFailures",
    "TCPLossFailures",
    "TCPFastRetrans",
    "TCPSlowStartRetrans",
    "TCPTimeouts",
    "TCPLossProbes",
    "TCPLossProbeRecovery",
    "TCPRenoRecoveryFail",
    "TCPSackRecoveryFail",
    "TCPRcvCollapsed",
    "TCPBacklogCoalesce",
    "TCPDSACKOldSent",
    "TCPDSACKOfoSent",
    "TCPDSACKRecv",
    "TCPDSACKOfoRecv",
    "TCPAbortOnData",
    "TCPAbortOnClose",
    "TCPAbortOnMemory",
    "TCPAbortOnTimeout",
    "TCPAbortOnLinger",
    "TCPAbortFailed",
    "TCPMemoryPressures",
    "TCPMemoryPressuresChrono",
    "TCPSACKDiscard",
    "TCPDSACKIgnoredOld",
    "TCPDSACKIgnoredNoUndo",
    "TCPSpuriousRTOs",
    "TCPMD5NotFound",
    "TCPMD5Unexpected",
    "TCPMD5Failure",
    "TCPSackShifted",
    "TCPSackMerged",
    "TCPSackShiftFallback",
    "TCPBacklogDrop",
    "PFMemallocDrop",
    "TCPMinTTLDrop",
    "TCPDeferAcceptDrop",
    "IPReversePathFilter",
    "TCPTimeWaitOverflow",
    "TCPReqQFullDoCookies",
    "TCPReqQFullDrop",
    "TCPRetransFail",
    "TCPRcvCoalesce",
    "TCPOFOQueue",
    "TCPOFODrop",
    "TCPOFOMerge",
    "TCPChallengeACK",
    "TCPSYNChallenge",
    "TCPFastOpenActive",
    "TCPFastOpenActiveFail",
    "TCPFastOpenPassive",
    "TCPFastOpenPassiveFail",
    "TCPFastOpenListenOverflow",
    "TCPFastOpenCookieReqd",
    "TCPFastOpenBlackhole",
    "TCPSpuriousRtxHostQueues",
    "BusyPollRxPackets",
    "TCPAutoCorking",
    "TCPFromZeroWindowAdv",
    "TCPToZeroWindowAdv",
    "TCPWantZeroWindowAdv",
    "TCPSynRetrans",
    "TCPOrigDataSent",
    "TCPHystartTrainDetect",
    "TCPHystartTrainCwnd",
    "TCPHystartDelayDetect",
    "TCPHystartDelayCwnd",
    "TCPACKSkippedSynRecv",
    "TCPACKSkippedPAWS",
    "TCPACKSkippedSeq",
    "TCPACKSkippedFinWait2",
    "TCPACKSkippedTimeWait",
    "TCPACKSkippedChallenge",
    "TCPWinProbe",
    "TCPKeepAlive",
    "TCPMTUPFail",
    "TCPMTUPSuccess",
    "TCPDelivered",
    "TCPDeliveredCE",
    "TCPAckCompressed",
    "TCPZeroWindowDrop",
    "TCPRcvQDrop",
    "TCPWqueueTooBig",
    "TCPFastOpenPassiveAltKey",
    "TcpTimeoutRehash",
    "TcpDuplicateDataRehash",
    "TCPDSACKRecvSegs",
    "TCPDSACKIgnoredDubious",
    "TCPMigrateReqSuccess",
    "TCPMigrateReqFailure",
    "TCPPLBRehash",
    "TCPAORequired",
    "TCPAOBad",
    "TCPAOKeyNotFound",
    "TCPAOGood",
    "TCPAODroppedIcmps",
)
IPEXT_NAMES: Final[tuple[str, ...]] = (
    "InNoRoutes",
    "InTruncatedPkts",
    "InMcastPkts",
    "OutMcastPkts",
    "InBcastPkts",
    "OutBcastPkts",
    "InOctets",
    "OutOctets",
    "InMcastOctets",
    "OutMcastOctets",
    "InBcastOctets",
    "OutBcastOctets",
    "InCsumErrors",
    "InNoECTPkts",
    "InECT1Pkts",
    "InECT0Pkts",
    "InCEPkts",
    "ReasmOverlaps",
)

# /proc/net/snmp6. `Ip6` counts in an array with the IPSTATS_MIB_* indices above, plus one of its own.
IP6STATS_MIB_INTOOBIGERRORS: Final = 38
IP6_SLOTS: Final[tuple[tuple[str, int], ...]] = (
    ("InReceives", IPSTATS_MIB_INRECEIVES),
    ("InHdrErrors", IPSTATS_MIB_INHDRERRORS),
    ("InTooBigErrors", IP6STATS_MIB_INTOOBIGERRORS),
    ("InNoRoutes", IPSTATS_MIB_INNOROUTES),
    ("InAddrErrors", IPSTATS_MIB_INADDRERRORS),
    ("InUnknownProtos", IPSTATS_MIB_INUNKNOWNPROTOS),
    ("InTruncatedPkts", IPSTATS_MIB_INTRUNCATEDPKTS),
    ("InDiscards", IPSTATS_MIB_INDISCARDS),
    ("InDelivers", IPSTATS_MIB_INDELIVERS),
    ("OutForwDatagrams", IPSTATS_MIB_FORWDATAGRAMS),
    ("OutRequests", IPSTATS_MIB_OUTREQUESTS),
    ("OutDiscards", IPSTATS_MIB_OUTDISCARDS),
    ("OutNoRoutes", IPSTATS_MIB_OUTNOROUTES),
    ("ReasmTimeout", IPSTATS_MIB_REASMTIMEOUT),
    ("ReasmReqds", IPSTATS_MIB_REASMREQDS),
    ("ReasmOKs", IPSTATS_MIB_REASMOKS),
    ("ReasmFails", IPSTATS_MIB_REASMFAILS),
    ("FragOKs", IPSTATS_MIB_FRAGOKS),
    ("FragFails", IPSTATS_MIB_FRAGFAILS),
    ("FragCreates", IPSTATS_MIB_FRAGCREATES),
    ("InMcastPkts", IPSTATS_MIB_INMCASTPKTS),
    ("OutMcastPkts", IPSTATS_MIB_OUTMCASTPKTS),
    ("InOctets", IPSTATS_MIB_INOCTETS),
    ("OutOctets", IPSTATS_MIB_OUTOCTETS),
    ("InMcastOctets", IPSTATS_MIB_INMCASTOCTETS),
    ("OutMcastOctets", IPSTATS_MIB_OUTMCASTOCTETS),
    ("InBcastOctets", IPSTATS_MIB_INBCASTOCTETS),
    ("OutBcastOctets", IPSTATS_MIB_OUTBCASTOCTETS),
    ("InNoECTPkts", IPSTATS_MIB_INNOECTPKTS),
    ("InECT1Pkts", IPSTATS_MIB_INECT1PKTS),
    ("InECT0Pkts", IPSTATS_MIB_INECT0PKTS),
    ("InCEPkts", IPSTATS_MIB_INCEPKTS),
    ("OutTransmits", IPSTATS_MIB_OUTTRANSMITS),
)
ICMP6_MIB_INMSGS: Final = 0
ICMP6_MIB_INERRORS: Final = 1
ICMP6_MIB_OUTMSGS: Final = 2
ICMP6_MIB_OUTERRORS: Final = 3
ICMP6_MIB_CSUMERRORS: Final = 4
ICMP6_MIB_RATELIMITHOST: Final = 5
ICMP6_NAMES: Final[tuple[str, ...]] = ("InMsgs", "InErrors", "OutMsgs", "OutErrors", "InCsumErrors", "OutRateLimitHost")
ICMP6MSG_NAMES: Final[tuple[tuple[int, str], ...]] = (
    (1, "DestUnreachs"),
    (2, "PktTooBigs"),
    (3, "TimeExcds"),
    (4, "ParmProblems"),
    (128, "Echos"),
    (129, "EchoReplies"),
    (130, "GroupMembQueries"),
    (131, "GroupMembResponses"),
    (132, "GroupMembReductions"),
    (133, "RouterSolicits"),
    (134, "RouterAdvertisements"),
    (135, "NeighborSolicits"),
    (136, "NeighborAdvertisements"),
    (137, "Redirects"),
    (143, "MLDv2Reports"),
)
