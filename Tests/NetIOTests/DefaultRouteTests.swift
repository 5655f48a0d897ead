// SPDX-License-Identifier: Apache-2.0
import Foundation
import NetIO
import Testing

@Suite("The interfaces that lead to the world")
struct DefaultRouteTests {
    private static let heading = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

    /// A folder with what a kernel would tell.
    private func root(_ files: [String: String]) throws -> String {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent("dreamer-test-\(UUID().uuidString)")
        for (path, text) in files {
            let url = root.appendingPathComponent(path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: url)
        }
        return root.path
    }

    @Test("the default routes of both families count, each interface once")
    func interfaces() throws {
        let zeros = String(repeating: "0", count: 32)
        let root = try root([
            "proc/net/route": Self.heading
                + "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
                + "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
                + "tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000080\t0\t0\t0\n",
            "proc/net/ipv6_route":
                "\(zeros) 00 \(zeros) 00 fe800000000000000000000000000001 00000400 1 0 00000003     wwan0\n"
                + "\(zeros) 00 \(zeros) 00 \(zeros) 00000400 1 0 00000003     eth0\n"
                + "\(zeros) 00 \(zeros) 00 \(zeros) ffffffff 1 0 00200200       lo\n",
            "sys/class/net/wwan0/uevent": "DEVTYPE=wwan\nINTERFACE=wwan0\nIFINDEX=5\n",
        ])
        defer { try? FileManager.default.removeItem(atPath: root) }
        let route = DefaultRoute(root: root)
        #expect(route.interfaces == ["eth0", "wwan0"])
        #expect(route.isCellular)
    }

    @Test("a modem that no default route leads over is not paid for")
    func unused() throws {
        let root = try root([
            "proc/net/route": Self.heading
                + "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
                + "wwan0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
                + "../../x\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\nrubbish\n",
            "sys/class/net/eth0/uevent": "INTERFACE=eth0\nIFINDEX=2\n",
            "sys/class/net/wwan0/uevent": "DEVTYPE=wwan\n",
            "x/uevent": "DEVTYPE=wwan\n", "sys/x/uevent": "DEVTYPE=wwan\n",
        ])
        defer { try? FileManager.default.removeItem(atPath: root) }
        #expect(!DefaultRoute(root: root).isCellular)
        #expect(DefaultRoute(root: root + "/nowhere").interfaces.isEmpty)
        _ = DefaultRoute().interfaces
    }
}
