// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Signaling
import Wire

/// `dreamer tracker`
struct TrackerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tracker", abstract: "Run a WebTorrent tracker, where peers meet.")

    @Option(help: "The address to listen on; port 0 takes any free one.")
    var listen: String = "127.0.0.1:8000"

    @Option(help: "A PEM file with the TLS certificate chain, for wss.")
    var certificate: String?

    @Option(help: "A PEM file with the TLS key.")
    var key: String?

    @Flag(help: "Print the address as JSON.")
    var json = false

    func validate() throws {
        guard SocketAddress(listen) != nil else {
            throw ValidationError("--listen \(listen): give an address and a port, as 127.0.0.1:8000 or [::1]:8000")
        }
        guard (certificate == nil) == (key == nil) else {
            throw ValidationError("--certificate and --key belong together")
        }
    }

    func run() async throws {
        guard let address = SocketAddress(listen) else { return }
        var configuration = TrackerServer.Configuration()
        configuration.certificateFile = certificate
        configuration.keyFile = key
        let server = try await TrackerServer.start(
            host: address.ip.description, port: Int(address.port), configuration: configuration)
        let bound = SocketAddress(ip: address.ip, port: UInt16(server.port))
        let url = "\(certificate == nil ? "ws" : "wss")://\(bound)/announce"
        let interrupt = Interrupt()
        Terminal.output(
            json ? JSON.object(["event": "listening", "url": .string(url)]).serialized() : "tracker: \(url)")
        await interrupt.wait()
        await server.stop()
    }
}
