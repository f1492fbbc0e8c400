import AWSClientRuntime
import ClientRuntime
import Foundation
import Smithy
import SmithyIdentity

/// Temporary AWS keys for AWS's SDK, vended anew five minutes before they expire. They stay in memory.
///
/// `S3Client.S3ClientConfiguration(awsCredentialIdentityResolver: vendor, region: …)`; bucket, prefix, region and
/// endpoint are in ``vended()``.
public actor Vendor: AWSCredentialIdentityResolver {
    /// Seconds that the service's clock is ahead of this device's.
    public private(set) var ahead: TimeInterval = 0

    /// Seconds before their end that keys are replaced.
    private static let early = 300
    /// What S3 says of keys that are over; engines other than AWS know only the second.
    private static let expired: Set<String> = ["ExpiredToken", "InvalidAccessKeyId"]
    /// What S3 says of revoked keys, and of whatever the user may not do.
    private static let denied = "AccessDenied"
    /// In which the service is not asked again about denied keys that it has said are still good.
    private static let pause = Duration.seconds(60)

    private let configuration: TokenvendAPIConfiguration
    private let wish: CredentialsRequest
    private let clock = ContinuousClock()
    private var last: Credentials?
    private var renewAt = ContinuousClock.Instant.now
    private var askAt = ContinuousClock.Instant.now
    private var renewal: Task<Credentials, any Error>?

    public init(configuration: TokenvendAPIConfiguration, wish: CredentialsRequest = CredentialsRequest()) {
        self.configuration = configuration
        self.wish = wish
    }

    public nonisolated func getIdentity(identityProperties: Attributes?) async throws -> AWSCredentialIdentity {
        let keys = try await vended()
        return AWSCredentialIdentity(
            accessKey: keys.accessKeyId,
            secret: keys.secretAccessKey,
            // By this device's clock, which is the one that the SDK looks at.
            expiration: keys.expiration.addingTimeInterval(-(await ahead)),
            sessionToken: keys.sessionToken
        )
    }

    /// The last answer of the service. Whoever asks while keys are vended waits for the one vend.
    public func vended() async throws -> Credentials {
        if let last, clock.now < renewAt { return last }
        return try await renew()
    }

    /// Runs the call, and once more with new keys where S3 says that the old ones are over, or they were revoked.
    public nonisolated func withFreshKeys<T: Sendable>(_ call: @Sendable () async throws -> T) async throws -> T {
        let used = try await vended()
        do {
            return try await call()
        } catch {
            guard let code = (error as? any AWSServiceError)?.errorCode, try await replaced(used, code: code)
            else { throw error }
            return try await call()
        }
    }

    /// Whether there are other keys than those that S3 refused so. Asks the service once for all who were refused.
    private func replaced(_ refused: Credentials, code: String) async throws -> Bool {
        let denied = code == Self.denied
        guard denied || Self.expired.contains(code) else { return false }
        if last?.accessKeyId == refused.accessKeyId, !denied || clock.now >= askAt {
            defer { askAt = last?.accessKeyId == refused.accessKeyId ? clock.now + Self.pause : clock.now }
            _ = try await renew()
        }
        return last?.accessKeyId != refused.accessKeyId
    }

    private func renew() async throws -> Credentials {
        if let renewal { return try await renewal.value }
        let task = Task { try await vend() }
        renewal = task
        defer { renewal = nil }
        return try await task.value
    }

    private func vend() async throws -> Credentials {
        let keys = try await CredentialsAPI.issueCredentials(
            credentialsRequest: wish, apiConfiguration: configuration)
        ahead = keys.serverTime.timeIntervalSinceNow
        renewAt = clock.now + .seconds(keys.expiresIn - Self.early)
        last = keys
        return keys
    }
}
