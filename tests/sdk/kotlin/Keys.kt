/** Of the guide's code: an app's own class over the Keystore. */
interface Keys {
    fun read(): String?
    fun write(refreshToken: String?)
}
