// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

/// What every library target of ours is compiled with.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]

/// The standard library's own vector operations, which BLAKE3's kernels are written with.
let builtins: [SwiftSetting] = [.enableExperimentalFeature("BuiltinModule")]

/// A whole module optimized, in a debug build as well.
let optimized = ["-O", "-whole-module-optimization", "-disable-batch-mode", "-num-threads", "1"]

/// One target for each set of instructions that BLAKE3's kernel is compiled for, beside the one that all processors
/// run: the flags reach Swift's own code generation. Nothing but the kernel may be in such a target, and it is optimized
/// as a whole in debug builds too: otherwise pieces of the standard library compiled for it would be left for the linker
/// to choose for everyone. (The last three flags make whole-module optimization agree with what a debug build asks for.)
#if arch(x86_64)
let kernels: [Target] = [
    ("HashingSSE41", ["-msse4.1"]),
    ("HashingAVX2", ["-mavx2"]),
    ("HashingAVX512", ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]),
].map { name, instructions in
    let flags = optimized + instructions.flatMap { ["-Xcc", $0] }
    return .target(
        name: name, dependencies: ["CProcessor"], swiftSettings: strict + builtins + [.unsafeFlags(flags)])
}
#else
let kernels: [Target] = []
#endif

let package = Package(
    name: "dreamer",
    products: [
        .executable(name: "dreamer", targets: ["dreamer"]),
        .library(name: "WebRTC", targets: ["WebRTC"]),
        .library(name: "Swarm", targets: ["Swarm"]),
        .library(name: "RDRR", targets: ["RDRR"]),
        .library(name: "Signaling", targets: ["Signaling"]),
        .library(name: "Origin", targets: ["Origin"]),
        .library(name: "Relay", targets: ["Relay"]),
    ],
    traits: [
        .trait(name: "SRTP", description: "Protected RTP beside data channels; links libsrtp2."),
        .default(enabledTraits: ["SRTP"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    ],
    targets: [
        // C libraries of the system.
        .systemLibrary(name: "COpenSSL", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CUSRSCTP", providers: [.apt(["libusrsctp-dev"])]),
        .systemLibrary(name: "CSRTP", providers: [.apt(["libsrtp2-dev"])]),
        // Headers alone: the library is opened at run time, if it is there.
        .systemLibrary(name: "CVulkan", providers: [.apt(["libvulkan-dev"])]),
        .systemLibrary(name: "CNetIO"),
        .systemLibrary(name: "CNATLab"),
        // No library: which instructions the processor has.
        .systemLibrary(name: "CProcessor"),
        // No library either: products of blocks with instructions that Swift cannot name.
        .systemLibrary(name: "CCompute"),

        // The stack: no package dependency, no Foundation.
        .target(name: "Wire", swiftSettings: strict),
        .target(
            name: "Hashing", dependencies: ["COpenSSL", "CProcessor"] + kernels.map { .target(name: $0.name) },
            swiftSettings: strict + builtins),
        .target(name: "ICE", dependencies: ["Wire", "Hashing"], swiftSettings: strict),
        .target(name: "DTLS", dependencies: ["Wire", "COpenSSL"], swiftSettings: strict),
        .target(name: "SCTP", dependencies: ["Wire", "CUSRSCTP"], swiftSettings: strict),
        .target(name: "Recovery", dependencies: ["Wire"], swiftSettings: strict),
        // Empty without the trait.
        .target(
            name: "SRTP", dependencies: ["Wire", "DTLS", .target(name: "CSRTP", condition: .when(traits: ["SRTP"]))],
            swiftSettings: strict),
        .target(name: "SDP", dependencies: ["Wire"], swiftSettings: strict),
        .target(name: "NetIO", dependencies: ["Wire", "CNetIO"], swiftSettings: strict),
        .target(
            name: "WebRTC",
            dependencies: [
                "Wire", "Hashing", "ICE", "DTLS", "SCTP", "Recovery", "SDP", "NetIO",
                .target(name: "SRTP", condition: .when(traits: ["SRTP"])),
            ],
            swiftSettings: strict),
        .target(name: "RDRR", dependencies: ["Wire", "Hashing"], swiftSettings: strict),
        .target(
            name: "Swarm", dependencies: ["Wire", "Hashing", "RDRR", "SDP", "NetIO", "WebRTC"], swiftSettings: strict),

        // Running models: arithmetic, then what is made of it.
        // A network takes a hundred million multiplications a token: unoptimized, tests of it would take minutes.
        .target(
            name: "Compute", dependencies: ["CCompute", "CProcessor", "CVulkan"], exclude: ["Vulkan/Kernels"],
            swiftSettings: strict + [.unsafeFlags(optimized, .when(configuration: .debug))]),
        .target(name: "Inference", dependencies: ["Wire", "Hashing", "RDRR", "Compute"], swiftSettings: strict),

        // The STUN and TURN server.
        .target(name: "Relay", dependencies: ["Wire", "Hashing", "ICE", "DTLS", "NetIO"], swiftSettings: strict),

        // The laboratory: links on virtual time, and between namespaces of the kernel.
        // It runs the agents and the server that ship.
        .target(name: "NATLab", dependencies: ["Wire", "ICE", "Relay", "NetIO", "CNATLab"], swiftSettings: strict),

        // Above the stack: trackers, HTTP and the command line, over well-kept packages.
        .target(
            name: "Signaling",
            dependencies: [
                "Wire", "Swarm",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ], swiftSettings: strict),
        .target(
            name: "Origin",
            dependencies: [
                "Swarm",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ], swiftSettings: strict),
        .target(
            name: "TextService",
            dependencies: [
                "Wire", "Hashing", "RDRR", "Inference",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ], swiftSettings: strict),
        .executableTarget(
            name: "dreamer",
            dependencies: [
                "Wire", "Hashing", "ICE", "DTLS", "SCTP", "SDP", "NetIO", "WebRTC", "RDRR", "Inference", "Swarm",
                "Signaling", "Origin", "NATLab", "Relay", "Compute", "TextService",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: strict),

        // Tests: one suite a target, then whole programs.
        .target(name: "TestSupport", dependencies: ["Wire"], path: "Tests/TestSupport", swiftSettings: strict),
        .testTarget(name: "WireTests", dependencies: ["Wire", "TestSupport"]),
        .testTarget(name: "HashingTests", dependencies: ["Hashing", "TestSupport", "Wire"]),
        .testTarget(name: "ICETests", dependencies: ["ICE", "Wire", "Hashing", "TestSupport"]),
        .testTarget(name: "DTLSTests", dependencies: ["DTLS", "Wire", "TestSupport"]),
        .target(
            name: "SCTPTestSupport", dependencies: ["SCTP", "Wire"], path: "Tests/SCTPTestSupport",
            swiftSettings: strict),
        .testTarget(
            name: "SCTPTests", dependencies: ["SCTP", "SCTPTestSupport", "Wire", "TestSupport"],
            // The tests' clock must reach usrsctp, a shared library.
            linkerSettings: [.unsafeFlags(["-Xlinker", "--export-dynamic-symbol=gettimeofday"])]),
        .testTarget(name: "RecoveryTests", dependencies: ["Recovery", "NATLab", "Wire", "TestSupport"]),
        .testTarget(name: "SRTPTests", dependencies: ["SRTP", "DTLS", "COpenSSL", "Wire", "TestSupport"]),
        .testTarget(name: "SDPTests", dependencies: ["SDP", "Wire", "TestSupport"]),
        .testTarget(name: "NetIOTests", dependencies: ["NetIO", "Wire", "TestSupport"]),
        .testTarget(
            name: "WebRTCTests",
            dependencies: [
                "WebRTC", "Relay", "DTLS", "ICE", "SRTP", "SCTP", "SCTPTestSupport", "SDP", "NetIO", "Wire",
                "TestSupport",
            ]),
        // What reads bytes of strangers, each as a function of any bytes: for tests and for a fuzzer.
        .target(
            name: "FuzzTargets",
            dependencies: [
                "Wire", "ICE", "DTLS", "SCTP", "Recovery", "SDP", "Relay", "SCTPTestSupport",
                .target(name: "SRTP", condition: .when(traits: ["SRTP"])),
            ],
            path: "Fuzz/Targets", swiftSettings: strict),
        .testTarget(name: "FuzzTests", dependencies: ["FuzzTargets", "Wire", "TestSupport"]),
        .testTarget(
            name: "RelayTests",
            dependencies: ["Relay", "ICE", "DTLS", "Hashing", "NetIO", "Wire", "TestSupport"]),
        .testTarget(name: "NATLabTests", dependencies: ["NATLab", "ICE", "NetIO", "Wire", "TestSupport"]),
        .testTarget(name: "RDRRTests", dependencies: ["RDRR", "Hashing", "Wire", "TestSupport"]),
        .testTarget(
            name: "ComputeTests", dependencies: ["Compute", "CCompute", "Wire", "TestSupport"], exclude: ["oracle"]),
        .testTarget(
            name: "InferenceTests", dependencies: ["Inference", "Compute", "RDRR", "Wire", "TestSupport"],
            exclude: ["Reference"]),
        .testTarget(
            name: "SwarmTests",
            dependencies: ["Swarm", "RDRR", "Hashing", "NetIO", "WebRTC", "Wire", "TestSupport"]),
        .testTarget(
            name: "SignalingTests",
            dependencies: [
                "Signaling", "Wire", "TestSupport",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
            ]),
        .testTarget(
            name: "OriginTests",
            dependencies: [
                "Origin", "TestSupport",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ]),
        .testTarget(
            name: "TextServiceTests",
            dependencies: ["TextService", "Inference", "Compute", "RDRR", "NetIO", "Wire", "TestSupport"]),
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "Wire", "RDRR", "Hashing", "NetIO", "ICE", "SDP", "WebRTC", "Swarm", "Signaling", "NATLab",
                "TestSupport",
            ],
            path: "Tests/EndToEnd", exclude: ["interop", "Drivers", "Browser/page.html", "Browser/page.js"]),
    ] + kernels,
    swiftLanguageModes: [.v6]
)

// With DREAMER_STACK_ONLY in the environment the package is what depends on no other package: quick to build with a
// sanitizer or a fuzzer's instrumentation.
if Context.environment["DREAMER_STACK_ONLY"] != nil {
    let above: Set<String> = [
        "Signaling", "Origin", "TextService", "dreamer", "SignalingTests", "OriginTests", "TextServiceTests",
        "EndToEndTests",
    ]
    package.targets.removeAll { above.contains($0.name) }
    package.products.removeAll { above.contains($0.name) }
    package.dependencies = []
}

// With DREAMER_SANITIZER=thread as well, ThreadSanitizer learns what happens in the slow paths of Synchronization.Mutex.
if Context.environment["DREAMER_SANITIZER"] == "thread" {
    package.targets.append(.target(name: "MutexAnnotations", path: "Tests/Sanitizers/MutexAnnotations"))
    let wrapped = ["9_lockSlowyys6UInt32VF", "11_unlockSlowyyF"].flatMap {
        ["-Xlinker", "--wrap=$s15Synchronization12_MutexHandleV\($0)"]
    }
    for target in package.targets where target.name == "WireTests" {
        target.dependencies.append("MutexAnnotations")
        target.linkerSettings = [.unsafeFlags(wrapped)]
    }
}

// With DREAMER_FUZZ as well there is the program that searches: it links libFuzzer, which scripts/fuzz names.
if Context.environment["DREAMER_FUZZ"] != nil {
    package.targets.append(
        .executableTarget(name: "fuzz", dependencies: ["FuzzTargets"], path: "Fuzz/Runner", swiftSettings: strict))
}
