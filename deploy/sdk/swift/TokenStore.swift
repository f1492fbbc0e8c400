import Foundation

/// There is no session, or none any more: sign in.
public struct SignedOut: Error {}

extension ErrorResponse {
    /// Why the service refused: `problem?.code`. Nil where the service did not answer.
    public var problem: Problem? {
        guard case let .error(_, data?, _, _) = self else { return nil }
        return try? CodableHelper().decode(Problem.self, from: data).get()
    }

    /// Whether there is no session any more: sign in.
    public var isSignedOut: Bool {
        guard case let .error(_, _, _, cause) = self else { return false }
        return cause is SignedOut
    }

    var status: Int {
        guard case let .error(status, _, _, _) = self else { return 0 }
        return status
    }
}

/// One signed-in device. Every call with ``configuration`` carries its access token, which renews itself and stays in
/// memory.
///
/// `save` gets each refresh token before anything else is done with it, and nil when there is none any more: keep it in
/// the Keychain, and give it back as `refreshToken` at the next start.
public actor TokenStore {
    /// For the generated functions: `AccountsAPI.getProfile(apiConfiguration: store.configuration)`.
    public nonisolated let configuration: TokenvendAPIConfiguration

    /// Seconds before its end that an access token is renewed.
    private static let early = 60
    /// In which a refresh whose answer was lost is sent again; the service repeats its answer for 30 seconds.
    private static let lostFor = Duration.seconds(25)

    private let `public`: TokenvendAPIConfiguration
    private let save: @Sendable (String?) -> Void
    private let clock = ContinuousClock()
    private var refreshToken: String?
    private var accessToken: String?
    private var renewAt = ContinuousClock.Instant.now
    private var renewal: Task<String, any Error>?

    public init(basePath: String, refreshToken: String? = nil, save: @escaping @Sendable (String?) -> Void) {
        self.public = TokenvendAPIConfiguration(basePath: basePath)
        self.configuration = TokenvendAPIConfiguration(basePath: basePath)
        self.refreshToken = refreshToken
        self.save = save
        self.public.interceptor = Impatient()
        configuration.interceptor = Authorizer(store: self)
    }

    /// The challenge of the second factor, where the user has one.
    public func logIn(_ request: LoginRequest) async throws -> MfaChallenge? {
        begin(try await AuthAPI.logIn(loginRequest: request, apiConfiguration: self.public))
    }

    public func answer(_ request: MfaRequest) async throws {
        _ = begin(try await AuthAPI.answerMfaChallenge(mfaRequest: request, apiConfiguration: self.public))
    }

    /// Forgets the session, also where the service cannot be told, which is then thrown.
    public func logOut() async throws {
        let sent = refreshToken
        forget()
        if let sent {
            let request = LogoutRequest(refreshToken: sent)
            try await AuthAPI.logOut(logoutRequest: request, apiConfiguration: self.public)
        }
    }

    /// Goes on with these: of a sign-in, a refresh or a step-up.
    public func adopt(_ tokens: TokenSet) {
        save(tokens.refreshToken)
        refreshToken = tokens.refreshToken
        accessToken = tokens.accessToken
        renewAt = clock.now + .seconds(tokens.expiresIn - Self.early)
    }

    /// One that is not `spent`. Whoever asks while it is renewed waits for the one renewal.
    public func accessToken(spent: String? = nil) async throws -> String {
        if let accessToken, accessToken != spent, clock.now < renewAt { return accessToken }
        if let renewal { return try await renewal.value }
        let task = Task { try await renew() }
        renewal = task
        defer { renewal = nil }
        return try await task.value
    }

    private func begin(_ result: LoginResult) -> MfaChallenge? {
        if let tokens = result.tokens { adopt(tokens) }
        return result.mfa
    }

    private func renew() async throws -> String {
        guard let sent = refreshToken else { throw SignedOut() }
        if let tokens = try await refresh(sent) { adopt(tokens) }
        guard let accessToken else { throw SignedOut() }
        return accessToken
    }

    /// Nil where another session, or none, has taken its place meanwhile.
    private func refresh(_ sent: String) async throws -> TokenSet? {
        let request = RefreshRequest(refreshToken: sent)
        let giveUpAt = clock.now + Self.lostFor
        var pause = Duration.milliseconds(500)
        while refreshToken == sent {
            do {
                let tokens = try await AuthAPI.refreshSession(refreshRequest: request, apiConfiguration: self.public)
                return refreshToken == sent ? tokens : nil
            } catch let error as ErrorResponse {
                guard refreshToken == sent else { return nil }
                if error.status == 401, error.problem != nil {
                    forget()
                    throw SignedOut()
                }
                let lost = error.status <= 0 || error.status >= 500
                if !lost || clock.now + pause > giveUpAt { throw error }
            }
            try await clock.sleep(for: pause)
            pause *= 2
        }
        return nil
    }

    private func forget() {
        refreshToken = nil
        accessToken = nil
        save(nil)
    }
}
