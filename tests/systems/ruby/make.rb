# Hashes by Devise's own encryptor, without and with a pepper. The argument is where Debian's package is.

require "json"
require "active_support"
require "active_support/core_ext/object/blank"

gem = Dir[File.join(ARGV[0], "usr/share/**/devise-*/lib/devise/encryptor.rb")] +
      Dir[File.join(ARGV[0], "usr/**/devise/encryptor.rb")]
require gem.first
version = Dir[File.join(ARGV[0], "usr/share/**/devise-*.gemspec")].first[/devise-([\d.]+)\.gemspec/, 1]

given = JSON.parse($stdin.read)
User = Struct.new(:pepper, :stretches)
kinds = { "Devise" => ["", ""], "Devise with a pepper" => [given["key"], "devise"] }
made = kinds.map do |system, (pepper, prehash)|
  hashes = given["passwords"].transform_values { |password| Devise::Encryptor.digest(User.new(pepper, 12), password) }
  { system: system, version: version, stored: "$2a$12$…", prehash: prehash, hashes: hashes }
end
puts made.to_json
