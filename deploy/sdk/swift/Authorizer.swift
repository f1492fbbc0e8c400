import Foundation

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// Sends the access token along, and once more a new one where the service says that it is over.
struct Authorizer: OpenAPIInterceptor {
    /// On the request that is sent once more.
    private static let again = "X-Again"

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
        guard answer?.statusCode == 401, challenge.contains("invalid_token"), requestBuilder.headers[Self.again] == nil
        else { return completion(.dontRetry) }
        requestBuilder.addHeaders([Self.again: "1"])
        let spent = urlRequest.value(forHTTPHeaderField: "Authorization").map { String($0.dropFirst("Bearer ".count)) }
        Task {
            do {
                _ = try await store.accessToken(spent: spent)
                completion(.retry)
            } catch is SignedOut {
                completion(.retry)  // which gets no token, and says so in the place of the 401
            } catch {
                completion(.dontRetry)
            }
        }
    }
}

/// Takes an answer for lost after eight seconds, so that there is time to ask again.
struct Impatient: OpenAPIInterceptor {
    func intercept<T>(
        urlRequest: URLRequest, urlSession: URLSessionProtocol, requestBuilder: RequestBuilder<T>,
        completion: @Sendable @escaping (Result<URLRequest, any Error>) -> Void
    ) {
        var impatient = urlRequest
        impatient.timeoutInterval = 8
        completion(.success(impatient))
    }

    func retry<T>(
        urlRequest: URLRequest, urlSession: URLSessionProtocol, requestBuilder: RequestBuilder<T>, data: Data?,
        response: URLResponse?, error: any Error, completion: @Sendable @escaping (OpenAPIInterceptorRetry) -> Void
    ) {
        completion(.dontRetry)
    }
}
