// Gives the command by which a host starts an unpacked bundle, by mcpb's own code:
// node host_config.mjs DIRECTORY USER_CONFIG_AS_JSON
import { readFile } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { homedir } from 'node:os'
import { getMcpConfigForManifest } from '@anthropic-ai/mcpb'

const [extensionPath, userConfig] = process.argv.slice(2)
const manifest = JSON.parse(await readFile(join(extensionPath, 'manifest.json'), 'utf8'))
const config = await getMcpConfigForManifest({
  manifest,
  extensionPath,
  systemDirs: { HOME: homedir() },
  userConfig: JSON.parse(userConfig),
  pathSeparator: sep,
})
console.log(JSON.stringify(config))
