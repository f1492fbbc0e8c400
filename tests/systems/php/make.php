<?php
// Hashes by PHP's own functions, with their own costs, and by WordPress's. The argument is where Debian's package is.

define('ABSPATH', $argv[1] . '/usr/share/wordpress/');
define('WPINC', 'wp-includes');
require ABSPATH . WPINC . '/version.php';
require ABSPATH . WPINC . '/pluggable.php';

$given = json_decode(stream_get_contents(STDIN), true);
$kinds = [
    ['PHP, bcrypt (Laravel, Symfony)', PHP_VERSION, '$2y$10$…', fn($password) => password_hash($password, PASSWORD_BCRYPT)],
    ['PHP, argon2id', PHP_VERSION, '$argon2id$v=19$m=65536,t=4,p=1$…', fn($password) => password_hash($password, PASSWORD_ARGON2ID)],
    ['PHP, argon2i', PHP_VERSION, '$argon2i$v=19$m=65536,t=4,p=1$…', fn($password) => password_hash($password, PASSWORD_ARGON2I)],
    ['WordPress', $wp_version, '$P$…', 'wp_hash_password'],
];
$made = [];
foreach ($kinds as [$system, $version, $stored, $hashed]) {
    $made[] = [
        'system' => $system,
        'version' => $version,
        'stored' => $stored,
        'hashes' => array_map($hashed, $given['passwords']),
    ];
}
echo json_encode($made);
