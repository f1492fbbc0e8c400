// Nobody is signed in here, so the service cannot be asked why S3 refused something.

export const whyRefused = async () => null;
