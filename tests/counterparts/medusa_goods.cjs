'use strict';
// Fills an empty Medusa: two regions (prices net in USD, gross in EUR; tax 20 % in both), products with variants, shipping.
const flows = require('@medusajs/medusa/core-flows');
const { Modules, ContainerRegistrationKeys } = require('@medusajs/framework/utils');

const run = async (container, workflow, input) => (await workflow(container).run({ input })).result;

async function regions(container) {
  const kinds = [
    { name: 'Net', currency_code: 'usd', countries: ['gb'], is_tax_inclusive: false },
    { name: 'Gross', currency_code: 'eur', countries: ['de'], is_tax_inclusive: true },
  ].map((region) => ({ ...region, payment_providers: ['pp_system_default', 'pp_card_card'] }));
  // One after the other: who names no region gets the one with the first id, and ids of one millisecond are in no order.
  const made = [];
  for (const region of kinds) made.push(...(await run(container, flows.createRegionsWorkflow, { regions: [region] })));
  const taxed = (country_code) => ({
    country_code, provider_id: 'tp_system', default_tax_rate: { name: 'VAT', code: 'VAT', rate: 20 },
  });
  await run(container, flows.createTaxRegionsWorkflow, ['gb', 'de'].map(taxed));
  return made;
}

async function shipping(container, channel) {
  const links = container.resolve(ContainerRegistrationKeys.LINK);
  const fulfillment = container.resolve(Modules.FULFILLMENT);
  const [place] = await run(container, flows.createStockLocationsWorkflow, {
    locations: [{ name: 'Store room', address: { city: 'London', country_code: 'GB', address_1: '' } }],
  });
  await links.create({
    [Modules.STOCK_LOCATION]: { stock_location_id: place.id },
    [Modules.FULFILLMENT]: { fulfillment_provider_id: 'manual_manual' },
  });
  await run(container, flows.linkSalesChannelsToStockLocationWorkflow, { id: place.id, add: [channel.id] });
  const kinds = { data: [{ name: 'Default', type: 'default' }] };
  const [profile] = await run(container, flows.createShippingProfilesWorkflow, kinds);
  const set = await fulfillment.createFulfillmentSets({
    name: 'Post', type: 'shipping',
    service_zones: [{ name: 'Europe', geo_zones: ['gb', 'de'].map((country_code) => ({ country_code, type: 'country' })) }],
  });
  await links.create({
    [Modules.STOCK_LOCATION]: { stock_location_id: place.id },
    [Modules.FULFILLMENT]: { fulfillment_set_id: set.id },
  });
  const rule = (attribute, value) => ({ attribute, value, operator: 'eq' });
  await run(container, flows.createShippingOptionsWorkflow, [{
    name: 'Standard', price_type: 'flat', provider_id: 'manual_manual', service_zone_id: set.service_zones[0].id,
    shipping_profile_id: profile.id, type: { label: 'Standard', description: 'In a week', code: 'standard' },
    prices: [{ currency_code: 'usd', amount: 5 }, { currency_code: 'eur', amount: 6 }],
    rules: [rule('enabled_in_store', 'true'), rule('is_return', 'false')],
  }]);
  return profile;
}

async function products(container, channel, profile) {
  const product = (title, option, variants) => ({
    title, status: 'published', shipping_profile_id: profile.id, sales_channels: [{ id: channel.id }],
    options: [{ title: option, values: variants.map(([value]) => value) }],
    variants: variants.map(([value, sku, usd, eur]) => ({
      title: value, sku, manage_inventory: false, options: { [option]: value },
      prices: [{ currency_code: 'usd', amount: usd }, { currency_code: 'eur', amount: eur }],
    })),
  });
  return run(container, flows.createProductsWorkflow, {
    products: [
      product('Ceramic mug', 'Glaze', [['Blue', 'MUG-BLUE', 29.99, 35.99], ['Green', 'MUG-GREEN', 31.5, 37.8]]),
      product('Shirt', 'Size', [['Small', 'SHIRT-S', 18, 21.6], ['Large', 'SHIRT-L', 20, 24]]),
      product('Tea towel', 'Size', [['One', 'TOWEL', 9.95, 11.94]]),
    ],
  });
}

exports.fill = async (container) => {
  const [channel] = await container.resolve(Modules.SALES_CHANNEL).listSalesChannels();
  const [store] = await container.resolve(Modules.STORE).listStores();
  await run(container, flows.updateStoresWorkflow, {
    selector: { id: store.id },
    update: {
      default_sales_channel_id: channel.id,
      supported_currencies: [
        { currency_code: 'usd', is_default: true }, { currency_code: 'eur', is_tax_inclusive: true },
      ],
    },
  });
  const [net] = await regions(container);
  await run(container, flows.updateStoresWorkflow, { selector: { id: store.id }, update: { default_region_id: net.id } });
  await products(container, channel, await shipping(container, channel));
  const [key] = await run(container, flows.createApiKeysWorkflow, {
    api_keys: [{ title: 'Storefront', type: 'publishable', created_by: '' }],
  });
  await run(container, flows.linkSalesChannelsToApiKeyWorkflow, { id: key.id, add: [channel.id] });
};

/** What a buyer needs to know: the key of the storefront, and the ids that a fresh database gives. */
exports.facts = async (container) => {
  const [key] = await container.resolve(Modules.API_KEY).listApiKeys({ type: 'publishable' });
  const all = await container.resolve(Modules.PRODUCT).listProductVariants({}, { take: 100 });
  const places = await container.resolve(Modules.REGION).listRegions();
  return {
    publishable_key: key.token,
    variants: Object.fromEntries(all.map((variant) => [variant.sku, variant.id])),
    regions: Object.fromEntries(places.map((region) => [region.name.toLowerCase(), region.id])),
  };
};
