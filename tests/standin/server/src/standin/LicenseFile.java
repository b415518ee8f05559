package standin;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A license file as far as its form is documented: `Key: value` lines, then `LicenseItems:` and at least one item.
 * The inner form of an item is not documented. The stand-in shows a line of six fields parted by ` | ` in the six
 * columns of the Items page, any other line as it is; and it reads `StandinUUID: ...`, a line no real file has, as the
 * machine the file is bound to.
 */
record LicenseFile(String id, String organization, List<Map<String, Object>> items) {
    private static final List<String> COLUMNS =
            List.of("id", "item", "product", "quantity", "startDate", "expirationDate");

    static LicenseFile parse(String text, String uuid) {
        List<String> lines = text.lines().map(String::strip).toList();
        int start = lines.indexOf("LicenseItems:");
        if (start < 0) {
            throw new Refusal("license file: must have a line `LicenseItems:`");
        }
        Map<String, String> fields = fields(lines.subList(0, start));
        List<Map<String, Object>> items = items(lines.subList(start + 1, lines.size()));
        String id = need(fields, "LicenseId", "\\d+");
        String organizationKey = fields.containsKey("OrganizationID") ? "OrganizationID" : "CustomerDynamId";
        String organization = need(fields, organizationKey, "\\d+");
        need(fields, "LicenseTextVersion", "\\d+(\\.\\d+)*");
        need(fields, "LicenseStatus", "Activated");
        if (!fields.getOrDefault("StandinUUID", uuid).equals(uuid)) {
            throw new Refusal("license file: must be bound to this server's UUID " + uuid + ", got "
                    + fields.get("StandinUUID"));
        }
        if (items.isEmpty()) {
            throw new Refusal("license file: must have an item below `LicenseItems:`");
        }
        return new LicenseFile(id, organization, items);
    }

    private static Map<String, String> fields(List<String> lines) {
        Map<String, String> fields = new HashMap<>();
        for (String line : lines) {
            String[] pair = line.split(":\\s*", 2);
            if (pair.length == 2) {
                fields.put(pair[0], pair[1]);
            } else if (!line.isEmpty()) {
                throw new Refusal("license file: must consist of `Key: value` lines");
            }
        }
        return fields;
    }

    private static String need(Map<String, String> fields, String key, String form) {
        String value = fields.get(key);
        if (value == null || !value.matches(form)) {
            throw new Refusal("license file: " + key + " must match " + form + ", got " + value);
        }
        return value;
    }

    private static List<Map<String, Object>> items(List<String> lines) {
        List<Map<String, Object>> items = new ArrayList<>();
        for (String line : lines) {
            if (!line.isEmpty()) {
                items.add(item(line));
            }
        }
        return items;
    }

    private static Map<String, Object> item(String line) {
        String[] values = line.split(" \\| ", -1);
        boolean ours = values.length == COLUMNS.size();
        Map<String, Object> item = new LinkedHashMap<>();
        for (int i = 0; i < COLUMNS.size(); i++) {
            item.put(COLUMNS.get(i), ours ? values[i] : "");
        }
        if (!ours) {
            item.put("item", line);
        }
        return item;
    }
}
