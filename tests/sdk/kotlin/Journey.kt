/** An app in Kotlin: `JourneyKt URL PHOTOGRAPH` tells what it saw as JSON. It signs for S3 itself. */

import aws.smithy.kotlin.runtime.ServiceErrorMetadata
import aws.smithy.kotlin.runtime.ServiceException
import aws.smithy.kotlin.runtime.auth.awscredentials.Credentials
import aws.smithy.kotlin.runtime.collections.Attributes
import java.io.File
import java.io.IOException
import java.security.MessageDigest
import java.time.Instant
import java.time.ZoneOffset
import java.time.format.DateTimeFormatter
import java.util.UUID
import javax.crypto.Mac
import javax.crypto.spec.SecretKeySpec
import kotlin.system.exitProcess
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.add
import kotlinx.serialization.json.addJsonArray
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody.Companion.toRequestBody
import tokenvend.SignedOut
import tokenvend.TokenStore
import tokenvend.Vendor
import tokenvend.apis.AccountsApi
import tokenvend.apis.CredentialsApi
import tokenvend.infrastructure.ClientException
import tokenvend.models.LoginRequest
import tokenvend.models.RegisterRequest
import tokenvend.problem

const val PASSWORD = "violet tractor moonlight"
object None : Attributes

fun main(arguments: Array<String>) = runBlocking<Unit> {
    val (url, photograph) = arguments
    val http = OkHttpClient()
    val email = "${UUID.randomUUID()}@example.org"
    val registration = RegisterRequest(email = email, password = PASSWORD)
    AccountsApi(url, http).registerUser(registration)
    val refused = try {
        AccountsApi(url, http).registerUser(registration)
        null
    } catch (refusal: ClientException) {
        refusal.problem?.code
    }

    val saved = mutableListOf<String?>()
    val store = TokenStore(url, http = http, save = saved::add)
    store.logIn(LoginRequest(email = email, password = PASSWORD, deviceName = "Ada's phone"))
    val profile = AccountsApi(url, store.client).getProfile()

    val vendor = Vendor(CredentialsApi(url, store.client))
    val photos = vendor.vended()
    val keys = List(3) { "${photos.prefix}$it.jpg" }
    for (key in keys) vendor.withFreshKeys {
        put(http, "${photos.endpointUrl}/${photos.bucket}/$key", photos.region, vendor.resolve(None), File(photograph))
    }

    val restarted = TokenStore(url, saved.last(), http, saved::add)
    val accounts = AccountsApi(url, restarted.client)
    val asks = coroutineScope {
        List(10) { async { accounts.getProfile().let { restarted.accessToken() } } }.awaitAll()
    }
    val tokens = asks.toSet()

    val skewed = Vendor(CredentialsApi(url, restarted.client)).resolve(None)

    val other = TokenStore(url, http = http) {}
    other.logIn(LoginRequest(email = email, password = PASSWORD, deviceName = "Ada's tablet"))
    accounts.endAllSessions()
    val ended = runCatching { AccountsApi(url, other.client).getProfile() }.exceptionOrNull() is SignedOut

    val astray = TokenStore("$url/nowhere", "unknown", http) {}
    val refusal = runCatching { AccountsApi(url, astray.client).getProfile() }.exceptionOrNull()
    check(refusal is IOException && refusal !is SignedOut) { "$refusal" }

    restarted.logOut()
    val signedOut = runCatching { restarted.accessToken() }.exceptionOrNull() is SignedOut
    println(
        buildJsonObject {
            put("refused", refused?.value)
            put("email", profile.email)
            put("role", profile.role.value)
            putJsonArray("keys") { keys.forEach(::add) }
            put("tokens", tokens.size)
            put("seconds_left", skewed.expiration!!.epochSeconds - Instant.now().epochSecond)
            put("ended", ended)
            put("signed_out", signedOut)
            putJsonArray("saved") { saved.forEach { add(it != null) } }
        }
    )
    exitProcess(0)
}

fun put(http: OkHttpClient, url: String, region: String, keys: Credentials, file: File) {
    send(http, "PUT", url, region, keys, file.readBytes(), Instant.now())
}

/** One request with Signature Version 4 of that time; parameters of [url] in their order, each with its `=`. */
fun send(
    http: OkHttpClient,
    method: String,
    url: String,
    region: String,
    keys: Credentials,
    body: ByteArray,
    now: Instant,
): Response {
    val time = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC).format(now)
    val scope = "${time.take(8)}/$region/s3/aws4_request"
    val request = Request.Builder().url(url).method(method, body.toRequestBody())
    val target = request.build().url
    val headers = sortedMapOf(
        "host" to "${target.host}:${target.port}",
        "x-amz-content-sha256" to sha256(body),
        "x-amz-date" to time,
        "x-amz-security-token" to keys.sessionToken!!,
    )
    val names = headers.keys.joinToString(";")
    val lines = headers.map { (name, value) -> "$name:$value\n" }.joinToString("")
    val query = target.encodedQuery.orEmpty()
    val canonical = "$method\n${target.encodedPath}\n$query\n$lines\n$names\n${sha256(body)}"
    val text = "AWS4-HMAC-SHA256\n$time\n$scope\n${sha256(canonical.toByteArray())}"
    val key = scope.split("/").fold("AWS4${keys.secretAccessKey}".toByteArray(), ::hmac)
    val credential = "Credential=${keys.accessKeyId}/$scope"
    val authorization = "AWS4-HMAC-SHA256 $credential, SignedHeaders=$names, Signature=${hex(hmac(key, text))}"
    headers.forEach { (name, value) -> request.header(name, value) }
    http.newCall(request.header("Authorization", authorization).build()).execute().use { answer ->
        val content = answer.body!!.string()
        if (answer.isSuccessful) return Response(answer.header("ETag"), content)
        throw ServiceException(ServiceErrorMetadata(Regex("<Code>(\\w+)</Code>").find(content)?.groupValues?.get(1)))
    }
}

class Response(val etag: String?, val content: String)

fun hmac(key: ByteArray, text: String): ByteArray =
    Mac.getInstance("HmacSHA256").apply { init(SecretKeySpec(key, "HmacSHA256")) }.doFinal(text.toByteArray())

fun sha256(bytes: ByteArray) = hex(MessageDigest.getInstance("SHA-256").digest(bytes))

fun hex(bytes: ByteArray) = bytes.joinToString("") { "%02x".format(it) }
