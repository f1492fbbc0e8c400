// swift-tools-version:6.0

import PackageDescription

let package = Package(
    name: "Tokenvend",
    platforms: [.iOS(.v16), .macOS(.v13), .tvOS(.v16), .watchOS(.v9)],
    products: [.library(name: "Tokenvend", targets: ["Tokenvend"])],
    dependencies: [
        .package(url: "https://github.com/awslabs/aws-sdk-swift", from: "1.0.0"),
        .package(url: "https://github.com/smithy-lang/smithy-swift", "0.100.0"..<"1.0.0"),
    ],
    targets: [
        .target(
            name: "Tokenvend",
            dependencies: [
                .product(name: "AWSClientRuntime", package: "aws-sdk-swift"),
                .product(name: "ClientRuntime", package: "smithy-swift"),
                .product(name: "Smithy", package: "smithy-swift"),
                .product(name: "SmithyIdentity", package: "smithy-swift"),
            ],
            path: "Sources/Tokenvend"
        )
    ],
    swiftLanguageModes: [.v6]
)
