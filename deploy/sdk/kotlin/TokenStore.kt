package tokenvend

import java.io.IOException
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import okhttp3.Dispatcher
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

    /** With threads of its own: those of [client] wait for what it fetches. */
    private val public = AuthApi(baseUrl, http.newBuilder().dispatcher(Dispatcher()).build())
    private val mutex = Mutex()
    private var accessToken: String? = null
    private var renewAt = 0L

    /** The challenge of the second factor, where the user has one. */
    suspend fun logIn(request: LoginRequest): MfaChallenge? = begin(public.logIn(request))

    suspend fun answer(request: MfaRequest) {
        begin(public.answerMfaChallenge(request))
    }

    /** Forgets the session, also where the service cannot be told, which is then thrown. */
    suspend fun logOut() = mutex.withLock {
        try {
            refreshToken?.let { public.logOut(LogoutRequest(it)) }
        } finally {
            forget()
        }
        Unit
    }

    /** Goes on with these: of a sign-in, a refresh or a step-up. */
    suspend fun adopt(tokens: TokenSet) = mutex.withLock { keep(tokens) }

    /** One that is not [spent]. Whoever asks while it is renewed waits for the one renewal. Throws [SignedOut]. */
    suspend fun accessToken(spent: String? = null): String = mutex.withLock {
        val good = accessToken?.takeIf { it != spent && System.nanoTime() < renewAt }
        good ?: refresh().also(::keep).accessToken
    }

    private fun authorize(chain: Interceptor.Chain): Response {
        fun send(token: String) =
            chain.proceed(chain.request().newBuilder().header("Authorization", "Bearer $token").build())
        val token = waitForToken()
        val response = send(token)
        if (response.code != 401 || "invalid_token" !in response.header("WWW-Authenticate").orEmpty()) return response
        response.close()
        return send(waitForToken(spent = token))
    }

    /** OkHttp hands an [IOException] to who called; any other ends the app. */
    private fun waitForToken(spent: String? = null): String = try {
        runBlocking { accessToken(spent) }
    } catch (error: Exception) {
        throw error as? IOException ?: IOException("No access token.", error)
    }

    private suspend fun begin(result: LoginResult): MfaChallenge? {
        result.tokens?.let { adopt(it) }
        return result.mfa
    }

    private suspend fun refresh(): TokenSet {
        val request = RefreshRequest(refreshToken ?: throw SignedOut())
        val giveUpAt = System.nanoTime() + LOST_FOR * 1_000_000_000L
        var pause = 500L
        while (true) {
            try {
                return public.refreshSession(request)
            } catch (refusal: ClientException) {
                if (refusal.statusCode != 401 || refusal.problem == null) throw refusal
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

    private fun keep(tokens: TokenSet) = try {
        save(tokens.refreshToken)
    } finally {
        refreshToken = tokens.refreshToken
        accessToken = tokens.accessToken
        renewAt = System.nanoTime() + (tokens.expiresIn - EARLY) * 1_000_000_000L
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
