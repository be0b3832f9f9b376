// Chains the four tools by way of @modelcontextprotocol/sdk: node put_up.mjs FILE COMMAND ARGUMENT...
// Prints what each tool gave, and the protocol's version, as one JSON object.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'

const [path, command, ...args] = process.argv.slice(2)
const transport = new StdioClientTransport({ command, args, env: process.env })
const client = new Client({ name: 'put_up.mjs', version: '1' })
await client.connect(transport)

const results = {}
const progress = []
async function call(name, given) {
  const result = await client.callTool({ name, arguments: given }, undefined, {
    onprogress: ({ progress: sent }) => progress.push(sent),
  })
  if (result.isError) throw new Error(JSON.stringify(result.content))
  results[name] = result.structuredContent
  return results[name]
}

const { audio_id } = await call('create_audio', { title: 'audio-upload-aioz-stream' })
await call('upload_audio_file', { audio_id, path })
await call('complete_upload', { audio_id })
await call('get_audio_link', { audio_id, wait_seconds: 45 })
console.log(JSON.stringify({ results, progress, server: client.getServerVersion() }))
await client.close()
