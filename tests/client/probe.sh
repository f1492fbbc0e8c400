# What the AWS CLI does with nothing but its default chain: arguments bucket, own prefix, foreign prefix.
set -eu
echo picture >body
aws s3api put-object --bucket "$1" --key "$2by-cli" --body body >put
own=$(aws s3api list-objects-v2 --bucket "$1" --prefix "$2" --query 'Contents[].Key')
if foreign=$(aws s3api list-objects-v2 --bucket "$1" --prefix "$3" 2>&1); then exit 1; fi
case $foreign in *"(AccessDenied)"*) foreign=AccessDenied ;; esac
printf '{"own": %s, "foreign": "%s"}\n' "$own" "$foreign"
