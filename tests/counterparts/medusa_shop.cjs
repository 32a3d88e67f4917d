'use strict';
// The Node part of medusa_shop.py: `--fill HOME` makes the shop in DATABASE_URL, `--serve HOME` runs it.
// Medusa reads its settings from HOME/medusa-config.js, which requires this file.
const fs = require('node:fs');
const path = require('node:path');
const { execFileSync } = require('node:child_process');

const AGENT = '@financedistrict/medusa-plugin-agentic-commerce';

exports.settings = () => require('@medusajs/framework/utils').defineConfig({
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    databaseDriverOptions: { connection: { ssl: false } },
    http: { storeCors: '*', adminCors: '*', authCors: '*', jwtSecret: 'only for tests', cookieSecret: 'only for tests' },
  },
  admin: { disable: true },
  plugins: [{ resolve: AGENT, options: {} }],
  modules: [
    {
      key: 'agenticCommerce',
      resolve: `${AGENT}/modules/agentic-commerce`,
      options: {
        api_key: 'only-for-tests', storefront_url: 'http://127.0.0.1', store_name: 'Shop of the tests',
        payment_provider_id: 'pp_card_card',
      },
    },
    {
      resolve: '@medusajs/medusa/payment',
      options: { providers: [{ resolve: path.join(__dirname, 'medusa_card.cjs'), id: 'card' }] },
    },
  ],
});

async function load(home) {
  const express = require('express');
  const app = express();
  const { default: loaders } = require('@medusajs/medusa/loaders/index');
  return { app, ...(await loaders({ directory: home, expressApp: app })) };
}

async function fill(home) {
  const cli = path.join(home, 'node_modules', '@medusajs', 'cli', 'cli.js');
  execFileSync('node', [cli, 'db:migrate', '--execute-all-links'], { cwd: home, stdio: ['ignore', 2, 2] });
  const { container } = await load(home);
  await require('./medusa_goods.cjs').fill(container);
  process.exit(0);
}

async function serve(home) {
  const { app, container } = await load(home);
  const server = app.listen(0, '127.0.0.1', async () => {
    const facts = await require('./medusa_goods.cjs').facts(container);
    const url = `http://127.0.0.1:${server.address().port}`;
    fs.writeSync(1, `${JSON.stringify({ ready: true, url, ...facts, acp_key: 'only-for-tests' })}\n`);
  });
}

if (require.main === module) {
  const [task, home] = process.argv.slice(2);
  process.env.NODE_ENV = 'production';
  process.env.MEDUSA_DISABLE_TELEMETRY = 'true';
  // Standard output has the ready line only.
  console.log = console.info = console.error;
  process.stdout.write = process.stderr.write.bind(process.stderr);
  const text = 'module.exports = require(process.env.SHOP_SERVER).settings();\n';
  fs.writeFileSync(path.join(home, 'medusa-config.js'), text);
  if (task === '--serve') process.stdin.on('end', () => process.exit(0)).resume();
  (task === '--fill' ? fill(home) : serve(home)).catch((error) => { console.error(error); process.exit(1); });
}
