// What the guide's code uses of Android, with its names and shapes: the tests cannot fetch it.

package android.os

object Build {
    const val MODEL = "Pixel 9"
}
