// Relative addresses, so that the page also works behind a path prefix. validatorUrl: null, or a badge calls out.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", validatorUrl: null });
