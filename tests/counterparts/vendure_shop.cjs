'use strict';
// The Node part of vendure_shop.py: `--fill HOME DATABASE` makes the shop, `--serve HOME DATABASE` runs it.
const fs = require('node:fs');
const path = require('node:path');
const { createRequire } = require('node:module');

process.env.NODE_ENV = 'production';
const [task, home, database] = process.argv.slice(2);
const installed = createRequire(path.join(home, 'package.json'));
const { bootstrap, LanguageCode, dummyPaymentHandler } = installed('@vendure/core');
const { populate } = installed('@vendure/core/cli');

// Prices are net; the tax of 20 % makes the gross price of a blue mug 35.99.
const PRODUCTS = `name,slug,description,assets,facets,optionGroups,optionValues,sku,price,taxCategory,stockOnHand,trackInventory,variantAssets,variantFacets
Ceramic mug,ceramic-mug,A stoneware mug,,,Glaze,Blue,MUG-BLUE,29.99,standard,100000,false,,
,,,,,,Green,MUG-GREEN,31.50,standard,100000,false,,
Shirt,shirt,A cotton shirt,,,Size|Colour,Small|Black,SHIRT-S,18.00,standard,100000,false,,
,,,,,,Large|Black,SHIRT-L,20.00,standard,100000,false,,
Tea towel,tea-towel,A linen towel,,,,,TOWEL,9.95,standard,100000,false,,
Espresso machine,espresso-machine,The last two,,,,,ESPRESSO,1200.00,standard,2,true,,
`;
const SHOP = {
  defaultLanguage: LanguageCode.en,
  defaultZone: 'Europe',
  taxRates: [{ name: 'standard', percentage: 20 }],
  shippingMethods: [{ name: 'Standard', price: 500, taxRate: 20 }],
  // Each takes metadata {"shouldDecline": true} and {"shouldError": true}; "later" only authorises.
  paymentMethods: ['true', 'false'].map((settles) => ({
    name: settles === 'true' ? 'Dummy' : 'Later',
    handler: { code: dummyPaymentHandler.code, arguments: [{ name: 'automaticSettle', value: settles }] },
  })),
  countries: [{ name: 'United Kingdom', code: 'GB', zone: 'Europe' }],
  collections: [],
  assetPaths: [],
};

const config = {
  apiOptions: { hostname: '127.0.0.1', port: 0, adminApiPath: 'admin-api', shopApiPath: 'shop-api' },
  authOptions: {
    tokenMethod: ['bearer', 'cookie'],
    superadminCredentials: { identifier: 'owner', password: 'only for tests' },
    cookieOptions: { secret: 'only for tests' },
    requireVerification: false,
  },
  dbConnectionOptions: { type: 'better-sqlite3', synchronize: task === '--fill', logging: false, database },
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  importExportOptions: { importAssetsDir: path.dirname(database) },
  // Standard output has the ready line only.
  logger: { error: console.error, warn() {}, info() {}, verbose() {}, debug() {} },
};

async function fill() {
  const products = `${database}.csv`;
  fs.writeFileSync(products, PRODUCTS);
  process.chdir(path.dirname(database));
  const app = await populate(() => bootstrap(config), SHOP, products);
  await app.close();
  fs.rmSync(products);
}

async function serve() {
  process.chdir(path.dirname(database));
  const app = await bootstrap(config);
  const { port } = app.getHttpServer().address();
  const end = () => { fs.rmSync(path.dirname(database), { recursive: true, force: true }); process.exit(0); };
  process.stdin.on('end', end).resume();
  process.on('SIGTERM', end);
  console.log(JSON.stringify({ ready: true, url: `http://127.0.0.1:${port}` }));
}

(task === '--fill' ? fill() : serve()).catch((error) => { console.error(error); process.exit(1); });
