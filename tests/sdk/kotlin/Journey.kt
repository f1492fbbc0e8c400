/** An app in Kotlin with AWS's SDK: `JourneyKt URL PHOTOGRAPH` tells what it saw as JSON. */

import aws.sdk.kotlin.services.s3.S3Client
import aws.sdk.kotlin.services.s3.listObjectsV2
import aws.sdk.kotlin.services.s3.model.GetObjectRequest
import aws.sdk.kotlin.services.s3.model.S3Exception
import aws.sdk.kotlin.services.s3.putObject
import aws.smithy.kotlin.runtime.collections.emptyAttributes
import aws.smithy.kotlin.runtime.content.asByteStream
import aws.smithy.kotlin.runtime.content.toByteArray
import aws.smithy.kotlin.runtime.net.url.Url
import java.io.File
import java.io.IOException
import java.time.Instant
import java.util.UUID
import kotlin.system.exitProcess
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.add
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray
import okhttp3.OkHttpClient
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
    val s3 = s3(vendor)
    val keys = List(3) { "${photos.prefix}$it.jpg" }
    for (name in keys) vendor.withFreshKeys {
        s3.putObject { bucket = photos.bucket; key = name; body = File(photograph).asByteStream() }
    }
    val listed = s3.listObjectsV2 { bucket = photos.bucket; prefix = photos.prefix }.contents.orEmpty().map { it.key }
    check(listed == keys) { "$listed" }
    for (name in keys) {
        val read = s3.getObject(GetObjectRequest { bucket = photos.bucket; key = name }) { it.body?.toByteArray() }
        check(read.contentEquals(File(photograph).readBytes())) { name }
    }
    val foreign = runCatching {
        s3.listObjectsV2 { bucket = photos.bucket; prefix = "users/" }
    }.exceptionOrNull()
    check((foreign as S3Exception).sdkErrorMetadata.errorCode == "AccessDenied") { "$foreign" }

    val restarted = TokenStore(url, saved.last(), http, saved::add)
    val accounts = AccountsApi(url, restarted.client)
    val asks = coroutineScope {
        List(10) { async { accounts.getProfile().let { restarted.accessToken() } } }.awaitAll()
    }
    val tokens = asks.toSet()

    val skewed = Vendor(CredentialsApi(url, restarted.client)).resolve(emptyAttributes())

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

/** As in the guide. */
suspend fun s3(vendor: Vendor): S3Client {
    val photos = vendor.vended()
    return S3Client {
        region = photos.region
        credentialsProvider = vendor
        endpointUrl = photos.endpointUrl?.let { Url.parse(it) }
        forcePathStyle = photos.forcePathStyle
    }
}
