// Asks the server at argv[2] through DeepL's own package for Node; prints what it said as JSON. A script.
const deepl = require("deepl-node");

const [url, texts, markup] = [process.argv[2], JSON.parse(process.argv[3]), process.argv[4]];
const client = new deepl.DeepLClient("any:fx", { serverUrl: url });
const refused = (promise) => promise.then(() => null, (error) => [error.constructor.name, error.message]);

async function main() {
  const one = await client.translateText(texts[0], null, "de");
  const everything = await client.translateText(markup, "en", "de", {
    context: "context",
    splitSentences: "nonewlines",
    preserveFormatting: true,
    formality: "prefer_more",
    tagHandling: "xml",
    outlineDetection: false,
    splittingTags: ["p"],
    nonSplittingTags: ["i"],
    ignoreTags: ["x", "y"],
    modelType: "quality_optimized",
  });
  const usage = await client.getUsage();
  console.log(JSON.stringify({
    one: [one.text, one.detectedSourceLang, one.billedCharacters],
    list: (await client.translateText(texts, "en", "de")).map((result) => result.text),
    everything: [everything.text, everything.modelTypeUsed],
    html: (await client.translateText(markup, null, "de", { tagHandling: "html" })).text,
    sources: (await client.getSourceLanguages()).map((entry) => [entry.code, entry.name]),
    targets: (await client.getTargetLanguages()).map((entry) => [entry.code, entry.supportsFormality]),
    pairs: await client.getGlossaryLanguagePairs(),
    glossaries: await client.listGlossaries(),
    usage: [usage.character.count, usage.anyLimitReached(), usage.toString()],
    refused: {
      target: await refused(client.translateText("a", null, "fr")),
      formality: await refused(client.translateText("a", null, "de", { formality: "more" })),
      xml: await refused(client.translateText("<a>", null, "de", { tagHandling: "xml" })),
    },
  }));
}

main();
