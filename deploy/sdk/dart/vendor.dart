import 'dart:async';

import 'package:aws_common/aws_common.dart';
import 'package:aws_signature_v4/aws_signature_v4.dart';
import 'package:tokenvend/tokenvend.dart';

/// S3 said no. [code] is its own, such as `AccessDenied`.
class S3Refused implements Exception {
  const S3Refused(this.status, this.code);

  final int status;
  final String? code;
}

/// Temporary AWS keys for `aws_signature_v4`, vended anew five minutes before they expire. They stay in memory.
class Vendor implements AWSCredentialsProvider {
  Vendor(this._api, [this._wish]);

  /// Seconds before their end that keys are replaced.
  static const early = 300;

  /// What S3 says of keys that are over; engines other than AWS know only the second.
  static const expired = {'ExpiredToken', 'InvalidAccessKeyId'};

  /// What S3 says of revoked keys, and of whatever the user may not do; the second in answer to HEAD.
  static const denied = {'AccessDenied', '403'};

  /// In which the service is not asked again about denied keys that it has said are still good.
  static const pause = Duration(seconds: 60);

  final CredentialsApi _api;
  final CredentialsRequest? _wish;
  final Stopwatch _clock = Stopwatch()..start();
  Credentials? _last;
  Duration _renewAt = Duration.zero;
  Duration _askAt = Duration.zero;
  Duration _ahead = Duration.zero;
  Future<Credentials>? _renewal;

  @override
  Future<AWSCredentials> retrieve() async {
    final keys = await vended();
    // By this device's clock, which is the one that the signer looks at.
    final expiration = keys.expiration.subtract(_ahead);
    return AWSCredentials(keys.accessKeyId, keys.secretAccessKey, keys.sessionToken, expiration);
  }

  /// The last answer of the service: bucket, prefix, region and endpoint are in it.
  Future<Credentials> vended() async {
    final last = _last;
    return last != null && _lasts(last) ? last : _renew();
  }

  /// Sends one request for an object, signed by the service's clock, and once more with new keys where S3 says that the
  /// old ones are over, or they were revoked. [path] is below the prefix. Throws [S3Refused].
  Future<List<int>> send(AWSHttpMethod method, String path, {List<int>? body, String? contentType}) async {
    for (var again = true;; again = false) {
      final keys = await vended();
      final answer = await _signed(keys, method, path, body, contentType);
      final bytes = await answer.bodyBytes;
      if (answer.statusCode < 300) return bytes;
      final code = RegExp('<Code>(\\w+)</Code>').firstMatch(String.fromCharCodes(bytes))?.group(1);
      if (again && await _replaced(keys, code ?? '${answer.statusCode}')) continue;
      throw S3Refused(answer.statusCode, code);
    }
  }

  /// Whether there are other keys than those that S3 refused so. Asks the service once for all who were refused.
  Future<bool> _replaced(Credentials refused, String code) async {
    final isDenied = denied.contains(code);
    if (!isDenied && !expired.contains(code)) return false;
    bool same() => _last?.accessKeyId == refused.accessKeyId;
    if (same() && (!isDenied || _clock.elapsed >= _askAt)) {
      try {
        await _renew();
      } finally {
        _askAt = _clock.elapsed + (same() ? pause : Duration.zero);
      }
    }
    return !same();
  }

  Future<Credentials> _renew() => _renewal ??= _vend().whenComplete(() => _renewal = null);

  Future<AWSBaseHttpResponse> _signed(
    Credentials keys,
    AWSHttpMethod method,
    String path,
    List<int>? body,
    String? contentType,
  ) async {
    final request = AWSHttpRequest(
      method: method,
      uri: _uri(keys, path),
      headers: {if (contentType != null) AWSHeaders.contentType: contentType},
      body: body,
    );
    final signed = await AWSSigV4Signer(credentialsProvider: this).sign(
      request,
      credentialScope: AWSCredentialScope(
        region: keys.region,
        service: AWSService.s3,
        dateTime: AWSDateTime(DateTime.now().toUtc().add(_ahead)),
      ),
      serviceConfiguration: S3ServiceConfiguration(chunked: false),
    );
    return signed.send().response;
  }

  static Uri _uri(Credentials keys, String path) {
    final endpoint = Uri.parse(keys.endpointUrl ?? 'https://s3.${keys.region}.amazonaws.com');
    return keys.forcePathStyle
        ? endpoint.replace(path: '/${keys.bucket}/${keys.prefix}$path')
        : endpoint.replace(host: '${keys.bucket}.${endpoint.host}', path: '/${keys.prefix}$path');
  }

  /// The monotonic clock stands still while some devices sleep, so the other one has to agree.
  bool _lasts(Credentials keys) {
    final end = keys.expiration.subtract(const Duration(seconds: early));
    return _clock.elapsed < _renewAt && DateTime.now().add(_ahead).isBefore(end);
  }

  Future<Credentials> _vend() async {
    final keys = (await _api.issueCredentials(credentialsRequest: _wish)).data!;
    _ahead = keys.serverTime.difference(DateTime.now());
    _renewAt = _clock.elapsed + Duration(seconds: keys.expiresIn - early);
    return _last = keys;
  }
}
