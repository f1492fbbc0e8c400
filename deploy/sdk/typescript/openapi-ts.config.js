// Imports end in `.js`, as Node and browsers want them without a bundler.
export default {
  input: process.env.DOCUMENT,
  output: { path: 'typescript/src', module: { extension: '.js' } },
  plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'],
  logs: { file: false }
}
