import 'package:dio/dio.dart';
import 'package:tokenvend/tokenvend.dart';

/// There is no session, or none any more: sign in.
class SignedOut implements Exception {
  const SignedOut();
}

/// Why the service refused: `error.problem?.code`. Null where the service did not answer.
extension Refusal on DioException {
  Problem? get problem {
    final body = response?.data;
    return body is Map<String, dynamic> && body.containsKey('request_id') ? Problem.fromJson(body) : null;
  }

  /// Whether there is no session any more: sign in.
  bool get isSignedOut => error is SignedOut;
}

/// One signed-in device. Every call by [api] carries its access token, which renews itself and stays in memory.
///
/// [save] gets each refresh token before anything else is done with it, and null when there is none any more: keep it in
/// flutter_secure_storage, and give it back as [refreshToken] at the next start.
class TokenStore extends QueuedInterceptor {
  TokenStore(String baseUrl, {String? refreshToken, required this.save})
      : _refreshToken = refreshToken,
        _public = Tokenvend(basePathOverride: baseUrl, interceptors: []) {
    api = Tokenvend(basePathOverride: baseUrl, interceptors: [this]);
    _public.dio.options.receiveTimeout = api.dio.options.receiveTimeout = const Duration(seconds: 10);
  }

  /// Seconds before its end that an access token is renewed.
  static const early = 60;

  /// In which a refresh whose answer was lost is sent again; the service repeats its answer for 30 seconds.
  static const lostFor = Duration(seconds: 25);

  late final Tokenvend api;
  final Future<void> Function(String? refreshToken) save;
  final Tokenvend _public;
  final Stopwatch _clock = Stopwatch()..start();
  String? _refreshToken;
  String? _accessToken;
  Duration _renewAt = Duration.zero;
  Future<String>? _renewal;
  Future<void> _saved = Future.value();

  /// The challenge of the second factor, where the user has one.
  Future<MfaChallenge?> logIn(LoginRequest request) async {
    return _begin((await _public.getAuthApi().logIn(loginRequest: request)).data!);
  }

  Future<void> answer(MfaRequest request) async {
    await _begin((await _public.getAuthApi().answerMfaChallenge(mfaRequest: request)).data!);
  }

  /// Forgets the session, also where the service cannot be told, which is then thrown.
  Future<void> logOut() async {
    final token = _refreshToken;
    try {
      await _forget();
    } finally {
      if (token != null) await _public.getAuthApi().logOut(logoutRequest: LogoutRequest(refreshToken: token));
    }
  }

  /// Goes on with these: of a sign-in, a refresh or a step-up.
  Future<void> adopt(TokenSet tokens) async {
    _refreshToken = tokens.refreshToken;
    _accessToken = tokens.accessToken;
    _renewAt = _clock.elapsed + Duration(seconds: tokens.expiresIn - early);
    await _keep(tokens.refreshToken);
  }

  /// One that is not [spent]. Whoever asks while it is renewed waits for the one renewal. Throws [SignedOut].
  Future<String> accessToken({String? spent}) async {
    final token = _accessToken;
    if (token != null && token != spent && _clock.elapsed < _renewAt) return token;
    return _renewal ??= _renew().whenComplete(() => _renewal = null);
  }

  @override
  Future<void> onRequest(RequestOptions options, RequestInterceptorHandler handler) async {
    try {
      options.headers['Authorization'] = 'Bearer ${await accessToken()}';
      handler.next(options);
    } catch (error) {
      handler.reject(DioException(requestOptions: options, error: error));
    }
  }

  @override
  Future<void> onError(DioException err, ErrorInterceptorHandler handler) async {
    final options = err.requestOptions;
    final challenge = err.response?.headers.value('WWW-Authenticate') ?? '';
    if (err.response?.statusCode != 401 || !challenge.contains('invalid_token')) return handler.next(err);
    final spent = (options.headers['Authorization'] as String).substring('Bearer '.length);
    try {
      options.headers['Authorization'] = 'Bearer ${await accessToken(spent: spent)}';
      handler.resolve(await _public.dio.fetch<Object>(options));
    } catch (error) {
      handler.next(error is DioException ? error : DioException(requestOptions: options, error: error));
    }
  }

  Future<MfaChallenge?> _begin(LoginResult result) async {
    final tokens = result.tokens;
    if (tokens != null) await adopt(tokens);
    return result.mfa;
  }

  Future<String> _renew() async {
    final sent = _refreshToken;
    if (sent == null) throw const SignedOut();
    final tokens = await _refresh(sent);
    if (tokens != null) await adopt(tokens);
    return _accessToken ?? (throw const SignedOut());
  }

  /// Null where another session, or none, has taken its place meanwhile.
  Future<TokenSet?> _refresh(String sent) async {
    final request = RefreshRequest(refreshToken: sent);
    final giveUpAt = _clock.elapsed + lostFor;
    for (var pause = const Duration(milliseconds: 500); _refreshToken == sent; pause *= 2) {
      try {
        final tokens = (await _public.getAuthApi().refreshSession(refreshRequest: request)).data!;
        return _refreshToken == sent ? tokens : null;
      } on DioException catch (error) {
        if (_refreshToken != sent) return null;
        final status = error.response?.statusCode ?? 503;
        if (status == 401 && error.problem != null) {
          await _forget();
          throw const SignedOut();
        }
        if (status < 500 || _clock.elapsed + pause > giveUpAt) rethrow;
      }
      await Future<void>.delayed(pause);
    }
    return null;
  }

  Future<void> _forget() async {
    _refreshToken = _accessToken = null;
    await _keep(null);
  }

  /// One after the other: a slow [save] does not overwrite a later one.
  Future<void> _keep(String? token) => _saved = _saved.then((_) => save(token), onError: (_) => save(token));
}
