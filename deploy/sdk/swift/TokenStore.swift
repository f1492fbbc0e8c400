import Foundation

/// There is no session, or none any more: sign in.
public struct SignedOut: Error {}

extension ErrorResponse {
    /// Why the service refused: `problem?.code`. Nil where the service did not answer.
    public var problem: Problem? {
        guard case let .error(_, data?, _, _) = self else { return nil }
        return try? CodableHelper().decode(Problem.self, from: data).get()
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
        configuration.interceptor = Authorizer(store: self)
    }

    /// The challenge of the second factor, where the user has one.
    public func logIn(_ request: LoginRequest) async throws -> MfaChallenge? {
        begin(try await AuthAPI.logIn(loginRequest: request, apiConfiguration: self.public))
    }

    public func answer(_ request: MfaRequest) async throws {
        _ = begin(try await AuthAPI.answerMfaChallenge(mfaRequest: request, apiConfiguration: self.public))
    }

    public func logOut() async throws {
        if let refreshToken {
            let request = LogoutRequest(refreshToken: refreshToken)
            try await AuthAPI.logOut(logoutRequest: request, apiConfiguration: self.public)
        }
        forget()
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
        guard let refreshToken else { throw SignedOut() }
        let request = RefreshRequest(refreshToken: refreshToken)
        let giveUpAt = clock.now + Self.lostFor
        var pause = Duration.milliseconds(500)
        while true {
            do {
                let tokens = try await AuthAPI.refreshSession(refreshRequest: request, apiConfiguration: self.public)
                adopt(tokens)
                return tokens.accessToken
            } catch let error as ErrorResponse {
                if error.status == 401 {
                    forget()
                    throw SignedOut()
                }
                let lost = error.status <= 0 || error.status >= 500
                if !lost || clock.now + pause > giveUpAt { throw error }
            }
            try await clock.sleep(for: pause)
            pause *= 2
        }
    }

    private func forget() {
        refreshToken = nil
        accessToken = nil
        save(nil)
    }
}

private struct Authorizer: OpenAPIInterceptor {
    let store: TokenStore

    func intercept<T>(
        urlRequest: URLRequest, urlSession: URLSessionProtocol, requestBuilder: RequestBuilder<T>,
        completion: @Sendable @escaping (Result<URLRequest, any Error>) -> Void
    ) {
        Task {
            do {
                var authorized = urlRequest
                let token = try await store.accessToken()
                authorized.setValue("Bearer \(token)", forHTTPHeaderField: "Authorization")
                completion(.success(authorized))
            } catch {
                completion(.failure(error))
            }
        }
    }

    func retry<T>(
        urlRequest: URLRequest, urlSession: URLSessionProtocol, requestBuilder: RequestBuilder<T>, data: Data?,
        response: URLResponse?, error: any Error, completion: @Sendable @escaping (OpenAPIInterceptorRetry) -> Void
    ) {
        let answer = response as? HTTPURLResponse
        let challenge = answer?.value(forHTTPHeaderField: "WWW-Authenticate") ?? ""
        guard answer?.statusCode == 401, challenge.contains("invalid_token") else { return completion(.dontRetry) }
        let spent = urlRequest.value(forHTTPHeaderField: "Authorization").map { String($0.dropFirst("Bearer ".count)) }
        Task { completion((try? await store.accessToken(spent: spent)) == nil ? .dontRetry : .retry) }
    }
}
