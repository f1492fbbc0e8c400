package tokenvend

import java.io.IOException
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import okhttp3.Interceptor
import okhttp3.OkHttpClient
import okhttp3.Response
import tokenvend.apis.AuthApi
import tokenvend.infrastructure.ClientError
import tokenvend.infrastructure.ClientException
import tokenvend.infrastructure.Serializer
import tokenvend.infrastructure.ServerError
import tokenvend.infrastructure.ServerException
import tokenvend.models.LoginRequest
import tokenvend.models.LoginResult
import tokenvend.models.LogoutRequest
import tokenvend.models.MfaChallenge
import tokenvend.models.MfaRequest
import tokenvend.models.Problem
import tokenvend.models.RefreshRequest
import tokenvend.models.TokenSet

/** There is no session, or none any more: sign in. */
class SignedOut(cause: Throwable? = null) : IOException("The session has ended.", cause)

/** Why the service refused: `problem?.code`. */
val ClientException.problem: Problem? get() = problemOf((response as? ClientError<*>)?.body)
val ServerException.problem: Problem? get() = problemOf((response as? ServerError<*>)?.body)

private fun problemOf(body: Any?): Problem? =
    runCatching { Serializer.kotlinxSerializationJson.decodeFromString<Problem>(body as String) }.getOrNull()

/**
 * One signed-in device: every call by [client] carries its access token, which renews itself and stays in memory.
 *
 * [save] gets each refresh token before anything else is done with it, and null when there is none any more: keep it by
 * the Keystore, and give it back as [refreshToken] at the next start.
 */
class TokenStore(
    baseUrl: String,
    private var refreshToken: String? = null,
    http: OkHttpClient = OkHttpClient(),
    private val save: (String?) -> Unit,
) {
    /** For the generated classes: `AccountsApi(baseUrl, store.client)`. */
    val client: OkHttpClient = http.newBuilder().addInterceptor(::authorize).build()

    private val public = AuthApi(baseUrl, http)
    private val mutex = Mutex()
    private var accessToken: String? = null
    private var renewAt = 0L

    /** The challenge of the second factor, where the user has one. */
    suspend fun logIn(request: LoginRequest): MfaChallenge? = begin(public.logIn(request))

    suspend fun answer(request: MfaRequest) {
        begin(public.answerMfaChallenge(request))
    }

    suspend fun logOut() = mutex.withLock {
        refreshToken?.let { public.logOut(LogoutRequest(it)) }
        forget()
    }

    /** Goes on with these: of a sign-in, a refresh or a step-up. */
    fun adopt(tokens: TokenSet) {
        save(tokens.refreshToken)
        refreshToken = tokens.refreshToken
        accessToken = tokens.accessToken
        renewAt = System.nanoTime() + (tokens.expiresIn - EARLY) * 1_000_000_000L
    }

    /** One that is not [spent]. Whoever asks while it is renewed waits for the one renewal. Throws [SignedOut]. */
    suspend fun accessToken(spent: String? = null): String = mutex.withLock {
        val good = accessToken?.takeIf { it != spent && System.nanoTime() < renewAt }
        good ?: renew().accessToken
    }

    private fun authorize(chain: Interceptor.Chain): Response {
        fun send(token: String) =
            chain.proceed(chain.request().newBuilder().header("Authorization", "Bearer $token").build())
        val token = runBlocking { accessToken() }
        val response = send(token)
        if (response.code != 401 || "invalid_token" !in response.header("WWW-Authenticate").orEmpty()) return response
        response.close()
        return send(runBlocking { accessToken(spent = token) })
    }

    private suspend fun begin(result: LoginResult): MfaChallenge? {
        result.tokens?.let { mutex.withLock { adopt(it) } }
        return result.mfa
    }

    private suspend fun renew(): TokenSet {
        val request = RefreshRequest(refreshToken ?: throw SignedOut())
        val giveUpAt = System.nanoTime() + LOST_FOR * 1_000_000_000L
        var pause = 500L
        while (true) {
            try {
                return public.refreshSession(request).also(::adopt)
            } catch (refusal: ClientException) {
                if (refusal.statusCode != 401) throw refusal
                forget()
                throw SignedOut(refusal)
            } catch (lost: ServerException) {
                if (System.nanoTime() + pause * 1_000_000 > giveUpAt) throw lost
            } catch (lost: IOException) {
                if (System.nanoTime() + pause * 1_000_000 > giveUpAt) throw lost
            }
            delay(pause)
            pause *= 2
        }
    }

    private fun forget() {
        refreshToken = null
        accessToken = null
        save(null)
    }

    private companion object {
        /** Seconds before its end that an access token is renewed. */
        const val EARLY = 60

        /** Seconds in which a refresh whose answer was lost is sent again; the service repeats its answer for 30. */
        const val LOST_FOR = 25
    }
}
